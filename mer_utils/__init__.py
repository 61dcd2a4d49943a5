"""Zero-shot music emotion recognition by aligning the emotion labels of different datasets.

One folder a notebook; what each does stands in its first lines. Data run down the list:

    data         labelled tracks, vocabularies, loaders                      notebook 00
    labels       labels as vectors, and which mean the same                  01, 02
    sound        audio, encoders, kept features                              03
    projector    from features into the label space: losses, training        04
    evaluation   the study, chance, intervals, tables                        05
    predict      a released model, songs of one's own                        06
    figures      one function a figure
    batch        profiles, run folders, sweeps, the command line             07 and all papermill
    corpus       the built-in music

Below them all: metrics (arrays in, numbers out), storage (files that are whole or not there), code
(what code does, as a hash), progress.

Method: Liu, Roy, Herremans, "Leveraging LLM Embeddings for Cross Dataset Label Alignment and Zero
Shot Music Emotion Prediction", arXiv 2410.11522.
"""

import os

# Threads that wait sleep, and do not spin: PyTorch's (libgomp's) else slow one another down tenfold
# when there are more of them than free cores. Read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
