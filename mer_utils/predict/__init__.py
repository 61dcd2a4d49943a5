"""Songs of one's own: what a released model says of them, and how a model is released.

`release` trains a method on all datasets and writes one folder, with a model card and the training
tracks that songs are compared with; `load_released` reads it, or the one that comes with the
package (released/), `predict_song` says for any words how well they fit a song, with a warning
where the model should not be believed.
"""

from mer_utils.predict.model_card import reference_set, release
from mer_utils.predict.songs import encoder_of, find_songs, song_features, tags
from mer_utils.predict.zero_shot import (
    RELEASED,
    Reference,
    label_warnings,
    load_released,
    nearest_tracks,
    percentile,
    predict_song,
    songs_as_reference,
    why,
    with_definitions,
)
