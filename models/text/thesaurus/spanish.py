"""List Spanish words by their meaning to pocket; accents may be missing in prompts."""

from __future__ import annotations


def _forms(*stems: str) -> str:
    """Return adjectives in both genders and numbers."""
    return ", ".join(stem + ending for stem in stems for ending in ("o", "a", "os", "as"))


WORDS: dict[str, str] = {
    "small": _forms("pequeñ", "diminut", "pequeñit", "chiquit") + ", chico, chica, minúsculo, minúscula",
    "large": "grande, grandes, gran, enorme, enormes, gigante, gigantes, gigantesco, gigantesca, inmenso, inmensa",
    "red": _forms("roj", "escarlat") + ", carmesí, bermejo",
    "yellow": _forms("amarill", "dorad"),
    "green": "verde, verdes, esmeralda",
    "blue": "azul, azules, azulado, azulada",
    "purple": _forms("morad", "purpúre") + ", púrpura, violeta, lila, violetas",
    "white": _forms("blanc") + ", marfil",
    "ball": "pelota, pelotas, bola, bolas, balón, balones, esfera, esferas",
    "cube": "cubo, cubos, caja, cajas, bloque, dado",
    "star": "estrella, estrellas",
    "fish": "pez, peces, pescado, pececillo, trucha",
    "rocket": "cohete, cohetes, nave espacial, nave, naves, astronave",
    "drifts left": "hacia la izquierda, de derecha a izquierda",
    "drifts right": "hacia la derecha, de izquierda a derecha",
    "bounces": "rebota, salta, brinca, rebotando, saltando, rebotar, saltar, botando, bota, rebotan, saltan, "
    "brincando, "
    "arriba y abajo",
    "circles": "gira, en círculos, da vueltas, girando, en círculo, dando vueltas, circula, giran, girar",
    "sways": "se balancea, balancea, oscila, se mece, balanceándose, mece, meciéndose, de lado a lado, oscilando",
    "on the left": "a la izquierda, izquierda, en el lado izquierdo, lado izquierdo",
    "in the middle": "en el centro, en medio, centro, medio, en el medio, centrado, centrada",
    "on the right": "a la derecha, derecha, en el lado derecho, lado derecho",
    "over the meadow": "prado, prados, pradera, hierba, colina, colinas, campo, campos, césped, pasto, praderas",
    "over the sea": "mar, océano, lago, agua, mares, océanos, lagos, playa, costa, estanque, río",
    "in the forest": "bosque, bosques, selva, arboleda, jungla",
    "in the desert": "desierto, desiertos, duna, dunas, arena",
    "in the city": "ciudad, ciudades, pueblo, calle, calles, urbano, urbana, pueblos",
    "by day": "día, de día, luz del día, por el día, mediodía, a pleno sol, pleno día, luz del sol, al sol, "
    "durante el día",
    "at sunset": "atardecer, puesta de sol, ocaso, anochecer, crepúsculo, al atardecer, puesta del sol, tarde, por "
    "la tarde, "
    "al anochecer",
    "at night": "noche, de noche, noches, medianoche, luz de la luna, luna, por la noche, a la luz de la luna, "
    "nocturno",
    "in clear weather": "cielo despejado, buen tiempo, despejado, tiempo despejado, cielo claro, con buen tiempo",
    "in the rain": "lluvia, llueve, lluvioso, lluviosa, lloviendo, bajo la lluvia, lluvias, llovizna, aguacero",
    "in the snow": "nieve, nieva, nevado, nevada, nevando, bajo la nieve, nevadas, ventisca, nieves",
    "in fog": "niebla, neblina, brumoso, bruma, nebuloso, en la niebla",
}
FILLER = (
    "un una unos unas el la los las de del y es son está en sobre por al a con para que se su luego ahora mientras "
    "muestra "
    "muéstrame muy imagen vídeo escena bajo entre junto hay lo tiempo cielo encima pero sino"
)
MOVERS = "flota vuela va mueve desliza nada rueda avanza viaja pasa deriva desplaza"
NEGATORS = "excepto deja cesa no sin ningún ninguna ninguno nunca ni jamás"
JOINERS = "y o ni"
