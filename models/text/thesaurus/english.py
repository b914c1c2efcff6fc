"""List English words by their meaning to pocket, words without meaning, and words near in meaning."""

from __future__ import annotations

WORDS: dict[str, str] = {  # plain wording → ways to say it, its own trained ones included
    "small": "small, little, tiny, mini, miniature, minuscule, wee, petite, teeny, compact, undersized, smaller, "
    "smallest, "
    "littler, tinier, smallish, microscopic",
    "large": "large, big, huge, giant, gigantic, enormous, massive, great, immense, colossal, jumbo, vast, mighty, "
    "oversized, "
    "larger, bigger, biggest, largest, sizeable, sizable, humongous, mammoth, grand",
    "red": "red, crimson, scarlet, ruby, vermilion, vermillion, cherry, carmine, reddish, cherry red, "
    "blood red, bright red, dark red, fire engine red, tomato red",
    "yellow": "yellow, golden, gold, lemon, amber, canary, blond, blonde, saffron, mustard, yellowish, lemon yellow, "
    "bright yellow, sunny yellow, lemony",
    "green": "green, emerald, lime, jade, olive, mint, verdant, greenish, lime green, dark green, bright green, "
    "viridian, "
    "grass green, emerald green, chartreuse",
    "blue": "blue, azure, navy, cobalt, sapphire, cerulean, indigo, ultramarine, bluish, sky blue, dark blue, "
    "light blue, "
    "navy blue, royal blue, bright blue, cyan",
    "purple": "purple, violet, lilac, lavender, mauve, plum, amethyst, purplish, magenta, aubergine, dark purple",
    "white": "white, ivory, snow white, pearl, milky, chalky, alabaster, whitish, pearly, chalk white, off white, "
    "milk white",
    "ball": "ball, balls, sphere, spheres, orb, orbs, globe, globes, marble, marbles, football, soccer ball, "
    "basketball, "
    "beach ball, beachball, round ball, bubble, bubbles, spherical, globule, bowling ball, tennis ball",
    "cube": "cube, cubes, box, boxes, block, blocks, crate, crates, dice, carton, cartons, package, parcel, cubic, "
    "square block, cuboid, cuboids, brick, bricks",
    "star": "star, stars, pentagram, starlet, star shape, star shaped, asterisk, starlike, five pointed star",
    "fish": "fish, fishes, goldfish, trout, carp, salmon, tuna, fishy, herring, guppy, minnow, cod, koi, "
    "clownfish, piranha, "
    "fishlike, sardine, pike",
    "rocket": "rocket, rockets, spaceship, spaceships, spacecraft, starship, starships, rocketship, rocket ship, "
    "space rocket, space ship, space shuttle, shuttle, missile, spacecrafts",
    "drifts left": "drifts left, moves left, flies left, goes left, leftward, leftwards, drifting left, moving left, "
    "flying left, from right to left, right to left, drift left, move left, fly left, float left, floats left",
    "drifts right": "drifts right, moves right, flies right, goes right, rightward, rightwards, drifting right, "
    "moving right, flying right, from left to right, left to right, drift right, move right, fly right, float right, "
    "floats right",
    "bounces": "bounces, jumps, hops, bounce, bouncing, jump, jumping, hop, hopping, leaps, leap, leaping, bounced, "
    "bounding, bounds, skips, skipping, jumps up and down, bounces up and down, moves up and down, up and down, "
    "bouncy, "
    "hopped, jumped, bobbing up and down",
    "circles": "circles, flies in circles, circle, circling, in circles, orbits, orbit, orbiting, loops, looping, "
    "moves in a circle, goes in circles, goes round, goes around, in a circle, revolves, revolving, round and round, "
    "flies in a circle, moves in circles, flying in circles, whirls, whirling",
    "sways": "sways, swings, sway, swaying, swing, swinging, rocking, wobbles, wobbling, oscillates, oscillating, "
    "dangles, dangling, back and forth, to and fro, side to side, from side to side, pendulum, swayed",
    "on the left": "on the left, on the left side, at the left, left side, left hand side, on the left hand side, "
    "leftmost",
    "in the middle": "in the middle, in the centre, in the center, centre, center, middle, centered, centred, "
    "central, "
    "at the centre, at the center, centrally, in the middle of the picture",
    "on the right": "on the right, on the right side, at the right, right side, right hand side, on the right hand "
    "side, "
    "rightmost",
    "over the meadow": "over the meadow, over green hills, over the grass, meadow, meadows, grass, grassland, "
    "grasslands, "
    "field, fields, pasture, pastures, lawn, prairie, hill, hills, green hills, countryside, grassy, over the hills, "
    "green hill, plain, plains, grassy field, steppe, over the fields, over green grass",
    "over the sea": "over the sea, over the ocean, sea, ocean, seas, oceans, lake, lakes, water, waters, seaside, "
    "seashore, coast, shore, beach, bay, lagoon, pond, over the water, over the lake, river, seawater, over the "
    "waves, "
    "by the sea, at sea, by the lake, by the ocean, underwater, under water, over the river, marine",
    "in the forest": "in the forest, in the woods, forest, forests, wood, woods, woodland, jungle, rainforest, "
    "grove, "
    "in the jungle, among trees, among the trees, between trees, woodlands, thicket, in the woodland, forested",
    "in the desert": "in the desert, desert, deserts, dune, dunes, sand, sahara, wasteland, sand dunes, in the sand, "
    "over the dunes, over the sand, sandy, badlands",
    "in the city": "in the city, in the town, city, town, cities, towns, street, streets, downtown, skyline, "
    "skyscrapers, "
    "skyscraper, urban, metropolis, village, in the street, in the streets, cityscape, high rises, over the roofs",
    "by day": "by day, in daylight, in sunshine, day, daylight, daytime, sunshine, sunlight, sunlit, noon, midday, "
    "daylit, "
    "during the day, at noon, at midday, in the daytime, in sunlight, broad daylight, afternoon, in the afternoon, "
    "in the sunshine, in the sun, in broad daylight, at day",
    "at sunset": "at sunset, at dusk, sunset, dusk, sundown, twilight, evening, nightfall, at twilight, at sundown, "
    "in the evening, golden hour, evenings, gloaming, sunsets, evening light, at nightfall, setting sun, crepuscular",
    "at night": "at night, by moonlight, night, nighttime, moonlight, midnight, moonlit, moon, nights, nocturnal, "
    "at midnight, by night, in the night, under the stars, under the moon, starry night, starry sky, night sky, "
    "in moonlight, in the dark, in darkness, darkness, starlight, starlit, under the night sky, at nighttime",
    "in clear weather": "in clear weather, clear weather, clear sky, clear skies, cloudless, fair weather, good "
    "weather, "
    "fine weather, free of snow, free of rain, free of fog, free of mist, snow free, fog free, rain free, snowless, "
    "fogless, rainless, blue sky, nice weather, under a clear sky, dry weather, clear, weather clear, cloudless sky",
    "in the rain": "in the rain, in rainy weather, rain, rainy, raining, rains, drizzle, drizzling, downpour, "
    "shower, "
    "showers, rainfall, pouring rain, drizzly, rainy weather, heavy rain, raindrops, rain shower, in rain, rainstorm",
    "in the snow": "in the snow, in snowy weather, snow, snowy, snowing, snowfall, snows, snowflakes, blizzard, "
    "snowstorm, "
    "falling snow, snowy weather, flurries, in snow, snowflake, heavy snow, snow flurries",
    "in fog": "in fog, in the mist, fog, foggy, mist, misty, haze, hazy, smog, in the fog, brume, mists, fogs, "
    "thick fog, in mist, foggy weather, in the haze",
    "to the left": "to the left, towards the left, toward the left, left",
    "to the right": "to the right, towards the right, toward the right, right",
}

# words without meaning to pocket, which can be left out without loss
FILLER = (
    "a an the of to is it its and then now with while please that this these those there are be was were being "
    "been has have "
    "in on at by over i we you me my our us show shows showing draw make create generate give see want would like "
    "let lets "
    "video film clip picture image scene shot view view one just some into onto upon above across along around "
    "through "
    "under beneath near beside behind as so also very really quite who which where when for from against can will "
    "does do "
    "still side weather light sky background foreground during becomes turns again both here but of than"
)
MOVERS = (
    "drifts drift drifting moves move moving flies fly flying goes go going floats float floating glides glide "
    "gliding "
    "swims swim swimming sails sail sailing travels travel travelling rolls roll rolling slides slide sliding "
    "passes pass "
    "passing soars soar soaring hovers hover hovering heads heading wanders wandering"
)
NEGATORS = (
    "no non not without never none nor neither isn't aren't doesn't don't cannot can't won't didn't wasn't nothing "
    "lacking minus "
    "isnt arent doesnt dont cant wont lacks lack avoid avoiding except excluding absent absence stop stops stopped "
    "stopping ceases instead rather hardly"
)
JOINERS = "and or nor"

NEAR: dict[str, str] = {  # plain wordings → words that are near in meaning but not synonyms
    "red, yellow": "orange peach apricot copper bronze ginger tangerine coral salmon-coloured rust rusty terracotta",
    "red, purple": "pink rose maroon burgundy fuchsia wine rosy blush",
    "purple, blue": "black ebony jet dark",
    "white": "grey gray silver silvery beige cream transparent glass pale bright light-coloured",
    "red, green": "brown chestnut khaki",
    "green, blue": "turquoise teal aqua",
    "red, yellow, green, blue": "rainbow colourful colorful multicoloured striped spotted colour color",
    "fish": "animal animals cat cats dog dogs bird birds horse horses unicorn dragon dragons whale whales shark "
    "sharks "
    "dolphin dolphins cow lion tiger bear wolf fox rabbit mouse snake frog duck elephant monkey panda creature "
    "monster pet "
    "octopus crab turtle penguin butterfly bee insect spider deer sheep pig chicken seal puppy kitten eagle owl",
    "rocket": "car cars plane planes airplane aeroplane aircraft ship ships boat boats train trains bus truck "
    "bicycle bike "
    "motorcycle helicopter drone vehicle ufo satellite jet robot astronaut comet balloon kite yacht submarine "
    "tractor",
    "ball, star": "planet planets moons sun apple orange-fruit egg pearl-bead disc disk coin circle-shape wheel "
    "fruit fireball",
    "cube": "house houses pyramid building present gift suitcase chest container square rectangle triangle object "
    "thing shape "
    "toy table chair book stone rock robot-head television tv",
    "star, ball": "flower flowers diamond heart crystal gem snowman lamp lantern firework fireworks",
    "ball, fish": "man men woman women person people child children boy girl human baby face king queen wizard "
    "knight dancer",
    "circles, sways": "spins spin spinning rotates rotate rotating turns-around twirls twirling rolls-over tumbles "
    "dances "
    "dance dancing twists shakes shaking trembles",
    "drifts left, drifts right": "walks walk walking runs run running drives driving rides riding races racing "
    "crawls "
    "marches charges escapes arrives leaves chases hurries rushes strolls",
    "bounces, sways": "rises rise rising falls fall falling climbs climbing drops dropping sinks explodes launches "
    "takes-off "
    "lands dives diving",
    "over the meadow": "mountain mountains valley garden park farm cliff canyon island ground earth land road path",
    "in the forest": "tree trees swamp bush leaves branch",
    "in the city": "castle room kitchen church bridge tower factory school office shop market harbour station "
    "stadium "
    "palace temple ruins interior indoors home",
    "at night, over the sea": "space universe galaxy cosmos cave underground",
    "by day": "morning sunrise dawn spring summer bright sunny warm hot",
    "at sunset": "autumn fall-season",
    "in the snow": "winter ice icy frozen cold frost hail christmas",
    "in the rain": "storm stormy thunder thunderstorm lightning wet clouds cloudy cloud overcast wind windy tornado",
    "in fog": "smoke smoky steam dust dusty",
    "small, large": "tall short long wide narrow fat thin medium size sized",
}
