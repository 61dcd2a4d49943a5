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


# How music with a label feels to a listener, one sentence a label name. Where a label names a use
# or a season ("film", "christmas"), the sentence says what such music conveys. Written without
# looking at any score.
DEFINITIONS: dict[str, str] = {
    # MTG-Jamendo
    "action": "Music full of action: fast, tense and forceful.",
    "adventure": "Music of adventure: bold, eager and full of wonder.",
    "advertising": "Music for advertising: bright, catchy and confident.",
    "background": "Music for the background: mild, even and easy to leave unnoticed.",
    "ballad": "Music like a ballad: slow, tender and full of feeling.",
    "calm": "Music that is calm: quiet, gentle and at rest.",
    "children": "Music for children: simple, playful and innocent.",
    "christmas": "Music for Christmas: warm, joyful and solemn.",
    "commercial": "Music that is commercial: pleasant, catchy and easy to like.",
    "cool": "Music that is cool: relaxed, confident and unbothered.",
    "corporate": "Music for a company: positive, steady and reassuring.",
    "dark": "Music that is dark: gloomy, threatening and mysterious.",
    "deep": "Music that is deep: serious, inward and absorbing.",
    "documentary": "Music for a documentary: thoughtful, serious and curious.",
    "drama": "Music of a drama: serious, tense and troubled.",
    "dramatic": "Music that is dramatic: intense, tense and full of conflict.",
    "dream": "Music like a dream: floating, soft and unreal.",
    "emotional": "Music that is emotional: moving, intense and heartfelt.",
    "energetic": "Music that is energetic: lively, driving and full of force.",
    "epic": "Music that is epic: grand, heroic and overwhelming.",
    "fast": "Music that is fast: quick, busy and excited.",
    "film": "Music for a film: expressive, changing and full of atmosphere.",
    "fun": "Music that is fun: merry, carefree and full of energy.",
    "funny": "Music that is funny: comical, silly and light.",
    "game": "Music for a game: lively, playful and tense.",
    "groovy": "Music that is groovy: swinging, easy and good to move to.",
    "happy": "Music that is happy: bright, cheerful and glad.",
    "heavy": "Music that is heavy: loud, massive and aggressive.",
    "holiday": "Music for a holiday: carefree, sunny and festive.",
    "hopeful": "Music that is hopeful: warm, trusting and looking forward.",
    "inspiring": "Music that is inspiring: lifting, warm and encouraging.",
    "love": "Music of love: warm, tender and devoted.",
    "meditative": "Music that is meditative: still, slow and turned inward.",
    "melancholic": "Music that is melancholic: sad, wistful and longing.",
    "melodic": "Music that is melodic: flowing, sweet and easy to sing.",
    "motivational": "Music that is motivational: driving, confident and encouraging.",
    "movie": "Music for a movie: expressive, moving and full of suspense.",
    "nature": "Music of nature: peaceful, open and fresh.",
    "party": "Music for a party: loud, joyful and excited.",
    "positive": "Music that is positive: bright, friendly and optimistic.",
    "powerful": "Music that is powerful: strong, forceful and commanding.",
    "relaxing": "Music that is relaxing: soft, slow and free of tension.",
    "retro": "Music that is retro: familiar, playful and nostalgic.",
    "romantic": "Music that is romantic: tender, warm and longing.",
    "sad": "Music that is sad: sorrowful, heavy-hearted and tearful.",
    "sexy": "Music that is sexy: sensual, warm and seductive.",
    "slow": "Music that is slow: unhurried, calm and heavy.",
    "soft": "Music that is soft: quiet, gentle and delicate.",
    "soundscape": "Music like a landscape of sound: still, wide and without hurry.",
    "space": "Music of outer space: vast, floating and mysterious.",
    "sport": "Music for sport: energetic, driving and determined.",
    "summer": "Music of summer: sunny, light and carefree.",
    "trailer": "Music for a film trailer: tense, mighty and thrilling.",
    "travel": "Music for travel: free, curious and cheerful.",
    "upbeat": "Music that is upbeat: quick, cheerful and bouncing.",
    "uplifting": "Music that is uplifting: joyful, hopeful and rising.",
    # CAL500
    "angry / aggressive": "Music that is angry and aggressive: furious, harsh and violent.",
    "arousing / awakening": "Music that is arousing and awakening: stirring, vivid and alert.",
    "bizarre / weird": "Music that is bizarre and weird: strange, uneasy and absurd.",
    "calming / soothing": "Music that is calming and soothing: gentle, slow and comforting.",
    "carefree / lighthearted": "Music that is carefree and lighthearted: easy, merry and free.",
    "cheerful / festive": "Music that is cheerful and festive: joyful, bright and lively.",
    "emotional / passionate": "Music that is emotional and passionate: intense, ardent and moving.",
    "exciting / thrilling": "Music that is exciting and thrilling: fast, intense and electric.",
    "laid-back / mellow": "Music that is laid-back and mellow: relaxed, easy and warm.",
    "light / playful": "Music that is light and playful: quick, teasing and cheerful.",
    "loving / romantic": "Music that is loving and romantic: tender, warm and devoted.",
    "pleasant / comfortable": "Music that is pleasant and comfortable: mild, friendly and at ease.",
    "positive / optimistic": "Music that is positive and optimistic: bright, hopeful and sure.",
    "powerful / strong": "Music that is powerful and strong: forceful, loud and commanding.",
    "tender / soft": "Music that is tender and soft: gentle, quiet and affectionate.",
    "touching / loving": "Music that is touching and loving: moving, tender and warm-hearted.",
    # Emotify
    "amazement": "Music of amazement: wondrous, dazzling and surprising.",
    "solemnity": "Music of solemnity: grave, dignified and reverent.",
    "tenderness": "Music of tenderness: gentle, soft and affectionate.",
    "nostalgia": "Music of nostalgia: wistful, dreamy and longing for the past.",
    "calmness": "Music of calmness: quiet, peaceful and at rest.",
    "power": "Music of power: strong, triumphant and forceful.",
    "joyful activation": "Music of joyful activation: lively, happy and made for dancing.",
    "tension": "Music of tension: nervous, restless and uneasy.",
    "sadness": "Music of sadness: sorrowful, tearful and downcast.",
    # Mulan emotions
    "amazed / surprised": "Music that is amazed and surprised: startling, vivid and astonished.",
    "happy / pleased": "Music that is happy and pleased: bright, cheerful and content.",
    "relaxing / calm": "Music that is relaxing and calm: gentle, slow and free of tension.",
    "quiet / still": "Music that is quiet and still: hushed, motionless and peaceful.",
    "sad / lonely": "Music that is sad and lonely: sorrowful, abandoned and longing.",
}


AXES = ("valence", "arousal", "tension", "power")
"""The axes of affect, in order: of music (valence, arousal, tension; Schimmack & Grob 2000,
Eerola & Vuoskoski 2011) and Osgood's potency (power)."""


@dataclass(frozen=True)
class Antonym:
    """A pair of opposite words for one axis of affect."""

    positive: str
    negative: str
    axis: str


# Osgood, Suci & Tannenbaum (1957) found evaluation, activity and potency as the three factors of
# word meaning; they stand here as valence, arousal and power. Tension is split from arousal as in
# studies of music. Six everyday pairs an axis, no word twice, fixed before any score was computed.
ANTONYMS: tuple[Antonym, ...] = (
    Antonym("happy", "sad", "valence"),
    Antonym("cheerful", "gloomy", "valence"),
    Antonym("pleasant", "unpleasant", "valence"),
    Antonym("positive", "negative", "valence"),
    Antonym("hopeful", "hopeless", "valence"),
    Antonym("bright", "dark", "valence"),
    Antonym("energetic", "calm", "arousal"),
    Antonym("active", "passive", "arousal"),
    Antonym("fast", "slow", "arousal"),
    Antonym("lively", "sleepy", "arousal"),
    Antonym("loud", "quiet", "arousal"),
    Antonym("exciting", "boring", "arousal"),
    Antonym("tense", "relaxed", "tension"),
    Antonym("anxious", "serene", "tension"),
    Antonym("agitated", "peaceful", "tension"),
    Antonym("harsh", "gentle", "tension"),
    Antonym("threatening", "reassuring", "tension"),
    Antonym("uneasy", "comfortable", "tension"),
    Antonym("powerful", "weak", "power"),
    Antonym("strong", "fragile", "power"),
    Antonym("heavy", "light", "power"),
    Antonym("hard", "soft", "power"),
    Antonym("bold", "timid", "power"),
    Antonym("dominant", "submissive", "power"),
)

# Sentences for the words of ANTONYMS that are no labels, so that a label space made of definitions
# can describe its poles in the same way as its labels.
POLE_DEFINITIONS: dict[str, str] = {
    "cheerful": "Music that is cheerful: merry, bright and glad.",
    "gloomy": "Music that is gloomy: dark, downcast and without joy.",
    "pleasant": "Music that is pleasant: agreeable, friendly and good to hear.",
    "unpleasant": "Music that is unpleasant: disagreeable, ugly and hard to bear.",
    "negative": "Music that is negative: bitter, hostile and pessimistic.",
    "hopeless": "Music that is hopeless: despairing, bleak and lost.",
    "bright": "Music that is bright: clear, sunny and radiant.",
    "active": "Music that is active: busy, moving and vigorous.",
    "passive": "Music that is passive: inert, resigned and without will.",
    "lively": "Music that is lively: quick, vivid and full of life.",
    "sleepy": "Music that is sleepy: drowsy, slow and tired.",
    "loud": "Music that is loud: noisy, full and blaring.",
    "quiet": "Music that is quiet: hushed, low and silent.",
    "exciting": "Music that is exciting: thrilling, rousing and electric.",
    "boring": "Music that is boring: dull, flat and monotonous.",
    "tense": "Music that is tense: strained, tight and nervous.",
    "relaxed": "Music that is relaxed: easy, loose and untroubled.",
    "anxious": "Music that is anxious: worried, fearful and restless.",
    "serene": "Music that is serene: clear, tranquil and untroubled.",
    "agitated": "Music that is agitated: disturbed, restless and upset.",
    "peaceful": "Music that is peaceful: calm, still and harmonious.",
    "harsh": "Music that is harsh: rough, sharp and grating.",
    "gentle": "Music that is gentle: mild, tender and kind.",
    "threatening": "Music that is threatening: menacing, dangerous and sinister.",
    "reassuring": "Music that is reassuring: comforting, safe and kind.",
    "uneasy": "Music that is uneasy: disquieting, troubled and unsure.",
    "comfortable": "Music that is comfortable: cosy, snug and at ease.",
    "weak": "Music that is weak: feeble, thin and without strength.",
    "strong": "Music that is strong: firm, mighty and full of force.",
    "fragile": "Music that is fragile: delicate, thin and easily broken.",
    "light": "Music that is light: weightless, airy and small.",
    "hard": "Music that is hard: firm, tough and unyielding.",
    "bold": "Music that is bold: daring, proud and fearless.",
    "timid": "Music that is timid: shy, hesitant and fearful.",
    "dominant": "Music that is dominant: commanding, proud and overpowering.",
    "submissive": "Music that is submissive: humble, yielding and obedient.",
}
