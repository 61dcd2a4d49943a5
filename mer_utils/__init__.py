"""Zero-shot music emotion recognition by aligning the emotion labels of different datasets.

One module or folder a concept; data flows one way through them:

    data.vocabulary -> labels -> clustering -+
                                             +-> training -> evaluation -> figures
    data -> audio -> encoders -> features         (projector, losses)

Method: Liu, Roy, Herremans, "Leveraging LLM Embeddings for Cross Dataset Label Alignment and Zero
Shot Music Emotion Prediction", arXiv 2410.11522.
"""

__version__ = "0.1.0"
