"""List French words by their meaning to pocket; accents may be missing in prompts."""

from __future__ import annotations

WORDS: dict[str, str] = {
    "small": "petit, petite, petits, petites, minuscule, minuscules, tout petit, toute petite",
    "large": "grand, grande, grands, grandes, gros, grosse, énorme, énormes, géant, géante, immense, gigantesque, "
    "grosses",
    "red": "rouge, rouges, écarlate, cramoisi, cramoisie, vermeil, carmin",
    "yellow": "jaune, jaunes, doré, dorée, dorés, dorées",
    "green": "vert, verte, verts, vertes, émeraude",
    "blue": "bleu, bleue, bleus, bleues, azur",
    "purple": "violet, violette, violets, violettes, pourpre, mauve, mauves, pourpres",
    "white": "blanc, blanche, blancs, blanches, ivoire",
    "ball": "balle, balles, ballon, ballons, boule, boules, sphère, sphères",
    "cube": "cube, cubes, boîte, boîtes, caisse, bloc",
    "star": "étoile, étoiles",
    "fish": "poisson, poissons, poisson rouge, truite, carpe",
    "rocket": "fusée, fusées, vaisseau spatial, vaisseau, navette, navette spatiale, vaisseaux",
    "drifts left": "vers la gauche, de droite à gauche",
    "drifts right": "vers la droite, de gauche à droite",
    "bounces": "rebondit, saute, bondit, rebondir, sauter, sautille, rebondissant, sautant, rebondissent, sautent, "
    "rebondissante, de haut en bas",
    "circles": "tourne en rond, en cercle, tournoie, tourne, décrit des cercles, en cercles, tournoyant, en rond, "
    "tournent",
    "sways": "balance, se balance, oscille, se balancer, balancement, oscillant, d'avant en arrière, se balançant",
    "on the left": "à gauche, gauche, sur la gauche, du côté gauche",
    "in the middle": "au milieu, au centre, milieu, centre, centré, centrée",
    "on the right": "à droite, droite, sur la droite, du côté droit",
    "over the meadow": "prairie, prairies, pré, prés, herbe, colline, collines, champ, champs, pelouse, gazon, "
    "pâturage",
    "over the sea": "mer, océan, lac, eau, mers, océans, lacs, plage, côte, étang, rivière, l'eau, rivage",
    "in the forest": "forêt, forêts, bois, jungle, sous-bois",
    "in the desert": "désert, déserts, dune, dunes, sable",
    "in the city": "ville, villes, rue, rues, cité, village, métropole",
    "by day": "jour, journée, de jour, le jour, plein jour, lumière du jour, soleil, midi, en plein jour, au soleil",
    "at sunset": "coucher de soleil, crépuscule, soir, soirée, au coucher du soleil, coucher du soleil, au "
    "crépuscule, "
    "tombée de la nuit, le soir",
    "at night": "nuit, nuits, la nuit, de nuit, minuit, clair de lune, au clair de lune, lune, pendant la nuit",
    "in clear weather": "temps clair, par temps clair, ciel clair, ciel dégagé, beau temps, par beau temps, sans "
    "nuages",
    "in the rain": "pluie, pluies, pleut, pluvieux, pluvieuse, averse, sous la pluie, bruine",
    "in the snow": "neige, neiges, neigeux, neigeuse, enneigé, enneigée, sous la neige, il neige, tempête de "
    "neige, flocons",
    "in fog": "brouillard, brume, brumeux, brumeuse, dans la brume, dans le brouillard",
}
FILLER = (
    "un une le la les l des du de d et est sont sur dans au aux en à par pour avec puis alors maintenant pendant "
    "que qui se s "
    "il elle ce cette ces montre moi très dessus au-dessus image vidéo scène sous vers il y a temps ciel c'est "
    "trop lumière"
)
MOVERS = "dérive flotte vole va déplace glisse nage roule avance voyage passe plane"
NEGATORS = "sauf arrête cesse sans pas aucun aucune jamais ni ne n non"
JOINERS = "et ou ni"
