"""The emotion vocabularies of the datasets: every label, how its dataset spells it, what it means.

Sources of the labels: MTG-Jamendo mood/theme (Bogdanov et al. 2019, the 56 tags of the official
splits), CAL500 (Turnbull et al. 2008, the 18 emotion words), Emotify (Aljanaki et al. 2016, the
nine factors of the Geneva Emotional Music Scale, Zentner et al. 2008), Mulan's "emotions"
(Trohidis et al. 2008, the six clusters of the Tellegen-Watson-Clark model).

Conventions: a label's `name` is lower case, spelled correctly, words of one label joined by " / ";
its `official` spelling is the one in the dataset's files, errors included. The order is that of
the dataset's files.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Label:
    """One emotion label of one dataset: clean name and the spelling in the dataset's files."""

    name: str
    official: str


_MTG_JAMENDO = (
    Label("action", "mood/theme---action"),
    Label("adventure", "mood/theme---adventure"),
    Label("advertising", "mood/theme---advertising"),
    Label("background", "mood/theme---background"),
    Label("ballad", "mood/theme---ballad"),
    Label("calm", "mood/theme---calm"),
    Label("children", "mood/theme---children"),
    Label("christmas", "mood/theme---christmas"),
    Label("commercial", "mood/theme---commercial"),
    Label("cool", "mood/theme---cool"),
    Label("corporate", "mood/theme---corporate"),
    Label("dark", "mood/theme---dark"),
    Label("deep", "mood/theme---deep"),
    Label("documentary", "mood/theme---documentary"),
    Label("drama", "mood/theme---drama"),
    Label("dramatic", "mood/theme---dramatic"),
    Label("dream", "mood/theme---dream"),
    Label("emotional", "mood/theme---emotional"),
    Label("energetic", "mood/theme---energetic"),
    Label("epic", "mood/theme---epic"),
    Label("fast", "mood/theme---fast"),
    Label("film", "mood/theme---film"),
    Label("fun", "mood/theme---fun"),
    Label("funny", "mood/theme---funny"),
    Label("game", "mood/theme---game"),
    Label("groovy", "mood/theme---groovy"),
    Label("happy", "mood/theme---happy"),
    Label("heavy", "mood/theme---heavy"),
    Label("holiday", "mood/theme---holiday"),
    Label("hopeful", "mood/theme---hopeful"),
    Label("inspiring", "mood/theme---inspiring"),
    Label("love", "mood/theme---love"),
    Label("meditative", "mood/theme---meditative"),
    Label("melancholic", "mood/theme---melancholic"),
    Label("melodic", "mood/theme---melodic"),
    Label("motivational", "mood/theme---motivational"),
    Label("movie", "mood/theme---movie"),
    Label("nature", "mood/theme---nature"),
    Label("party", "mood/theme---party"),
    Label("positive", "mood/theme---positive"),
    Label("powerful", "mood/theme---powerful"),
    Label("relaxing", "mood/theme---relaxing"),
    Label("retro", "mood/theme---retro"),
    Label("romantic", "mood/theme---romantic"),
    Label("sad", "mood/theme---sad"),
    Label("sexy", "mood/theme---sexy"),
    Label("slow", "mood/theme---slow"),
    Label("soft", "mood/theme---soft"),
    Label("soundscape", "mood/theme---soundscape"),
    Label("space", "mood/theme---space"),
    Label("sport", "mood/theme---sport"),
    Label("summer", "mood/theme---summer"),
    Label("trailer", "mood/theme---trailer"),
    Label("travel", "mood/theme---travel"),
    Label("upbeat", "mood/theme---upbeat"),
    Label("uplifting", "mood/theme---uplifting"),
)

_CAL500 = (
    Label("angry / aggressive", "Emotion-Angry_/_Agressive"),
    Label("arousing / awakening", "Emotion-Arousing_/_Awakening"),
    Label("bizarre / weird", "Emotion-Bizarre_/_Weird"),
    Label("calming / soothing", "Emotion-Calming_/_Soothing"),
    Label("carefree / lighthearted", "Emotion-Carefree_/_Lighthearted"),
    Label("cheerful / festive", "Emotion-Cheerful_/_Festive"),
    Label("emotional / passionate", "Emotion-Emotional_/_Passionate"),
    Label("exciting / thrilling", "Emotion-Exciting_/_Thrilling"),
    Label("happy", "Emotion-Happy"),
    Label("laid-back / mellow", "Emotion-Laid-back_/_Mellow"),
    Label("light / playful", "Emotion-Light_/_Playful"),
    Label("loving / romantic", "Emotion-Loving_/_Romantic"),
    Label("pleasant / comfortable", "Emotion-Pleasant_/_Comfortable"),
    Label("positive / optimistic", "Emotion-Positive_/_Optimistic"),
    Label("powerful / strong", "Emotion-Powerful_/_Strong"),
    Label("sad", "Emotion-Sad"),
    Label("tender / soft", "Emotion-Tender_/_Soft"),
    Label("touching / loving", "Emotion-Touching_/_Loving"),
)

_EMOTIFY = (
    Label("amazement", "amazement"),
    Label("solemnity", "solemnity"),
    Label("tenderness", "tenderness"),
    Label("nostalgia", "nostalgia"),
    Label("calmness", "calmness"),
    Label("power", "power"),
    Label("joyful activation", "joyful_activation"),
    Label("tension", "tension"),
    Label("sadness", "sadness"),
)

_EMOTIONS = (
    Label("amazed / surprised", "amazed-suprised"),
    Label("happy / pleased", "happy-pleased"),
    Label("relaxing / calm", "relaxing-calm"),
    Label("quiet / still", "quiet-still"),
    Label("sad / lonely", "sad-lonely"),
    Label("angry / aggressive", "angry-aggresive"),
)

VOCABULARIES: dict[str, tuple[Label, ...]] = {
    "mtg-jamendo": _MTG_JAMENDO,
    "cal500": _CAL500,
    "emotify": _EMOTIFY,
    "emotions": _EMOTIONS,
}


def names(vocabulary: str) -> tuple[str, ...]:
    """Clean label names of one vocabulary, in order.

    vocabulary: a key of VOCABULARIES.
    Raises ValueError for an unknown vocabulary.
    """
    if vocabulary not in VOCABULARIES:
        raise ValueError(f"no vocabulary {vocabulary!r}; there are {', '.join(VOCABULARIES)}")
    return tuple(label.name for label in VOCABULARIES[vocabulary])
