"""List German words by their meaning to pocket; umlauts also match without dots (`uber`, `ueber`)."""

from __future__ import annotations


def _adjectives(*stems: str) -> str:
    """Return adjectives in all their endings."""
    return ", ".join(stem + ending for stem in stems for ending in ("", "e", "er", "es", "en", "em"))


WORDS: dict[str, str] = {
    "small": _adjectives("klein", "winzig", "kleiner", "mini"),
    "large": _adjectives("groß", "riesig", "gewaltig", "größer", "mächtig", "enorm"),
    "red": _adjectives("rot", "purpurrot", "scharlachrot", "hellrot", "dunkelrot", "rubinrot"),
    "yellow": _adjectives("gelb", "golden", "hellgelb", "zitronengelb", "goldgelb"),
    "green": _adjectives("grün", "hellgrün", "dunkelgrün", "smaragdgrün", "grasgrün"),
    "blue": _adjectives("blau", "hellblau", "dunkelblau", "himmelblau", "azurblau"),
    "purple": _adjectives("violett", "purpurn", "lilafarben") + ", lila, purpur",
    "white": _adjectives("weiß", "schneeweiß", "elfenbeinfarben"),
    "ball": "ball, bälle, bälle, kugel, kugeln, fußball, bällchen",
    "cube": "würfel, würfeln, kiste, kisten, quader, schachtel, block, klotz, kasten",
    "star": "stern, sterne, sternen, sternchen",
    "fish": "fisch, fische, fisches, fischen, fischlein, goldfisch, forelle, karpfen",
    "rocket": "rakete, raketen, raumschiff, raumschiffe, raumschiffs, weltraumrakete",
    "drifts left": "nach links, von rechts nach links, linkswärts",
    "drifts right": "nach rechts, von links nach rechts, rechtswärts",
    "bounces": "hüpft, springt, hüpfen, hüpfend, springen, springend, prallt, hopst, hüpfender, springender, "
    "hüpfende, "
    "springende, auf und ab, hüpfendes, springendes",
    "circles": "kreist, kreisen, kreisend, im kreis, umkreist, dreht kreise, kreisender, fliegt im kreis, kreisende",
    "sways": "schaukelt, schwankt, schwingt, pendelt, schaukeln, schwingend, hin und her, wiegt sich, schaukelnd, "
    "schwankend, schaukelnder, schwingen, pendelnd",
    "on the left": "links, auf der linken seite, linke seite, am linken rand",
    "in the middle": "in der mitte, mitte, mittig, im zentrum, zentral",
    "on the right": "rechts, auf der rechten seite, rechte seite, am rechten rand",
    "over the meadow": "wiese, wiesen, gras, hügel, hügeln, feld, felder, weide, rasen, grünland, hügels, feldern, "
    "grase",
    "over the sea": "meer, see, ozean, wasser, meere, meeres, seen, strand, küste, ufer, teich, fluss, ozeans, wassers",
    "in the forest": "wald, wälder, wäldern, waldes, dschungel, gehölz, urwald, walde",
    "in the desert": "wüste, wüsten, düne, dünen, sand",
    "in the city": "stadt, städte, städten, straße, straßen, dorf, großstadt, innenstadt, dorfes",
    "by day": "tag, tags, tage, tagsüber, tageslicht, sonnenschein, mittag, mittags, sonnenlicht, bei tag, am tag, "
    "am tage",
    "at sunset": "sonnenuntergang, abend, abends, abenddämmerung, dämmerung, abendrot, bei sonnenuntergang, am abend",
    "at night": "nacht, nachts, mitternacht, mondlicht, mondschein, nächte, mond, in der nacht, bei nacht, dunkelheit",
    "in clear weather": "klares wetter, bei klarem wetter, klarem wetter, klarer himmel, wolkenlos, heiter, klarem "
    "himmel, "
    "schönes wetter, gutes wetter, schönem wetter, gutem wetter",
    "in the rain": "regen, regnet, regnerisch, regens, niederschlag, nieselregen, regenwetter, schauer, regnen",
    "in the snow": "schnee, schneit, verschneit, schneefall, schneesturm, schneeflocken, schnees, verschneiten, "
    "schneien, "
    "verschneite",
    "in fog": "nebel, neblig, nebels, dunst, nebelig, nebeligen, dunstig",
}
FILLER = (
    "ein eine einer eines einen einem der die das den dem des und ist sind es er sie im in am an auf über bei beim "
    "zur zum vor "
    "unter durch aus mit von zu dann jetzt während bitte zeige zeig mir ich sehr sich wird bild video szene da "
    "dort hier "
    "hinter neben um wie auch ihr sein seine wetter himmel aber sondern"
)
MOVERS = "treibt schwebt fliegt zieht bewegt gleitet schwimmt wandert rollt fährt geht läuft driftet fliegen schweben"
NEGATORS = "statt außer kein keine keiner keinen keinem keines nicht ohne nie niemals weder"
JOINERS = "und oder noch"
