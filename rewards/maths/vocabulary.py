"""The words and commands that the grammar knows."""

from __future__ import annotations


def _same(names: str) -> dict[str, str]:
    """Each of the names for itself."""
    return {name: name for name in names.split()}


FUNCTIONS = {
    **_same("sin cos tan cot sec csc sinh cosh tanh coth exp max min gcd lcm floor ceil abs sqrt sign det cbrt arg"),
    **_same("arcsin arccos arctan arccot log lg"),
    "ln": "log", "tg": "tan", "ctg": "cot", "cosec": "csc", "arctg": "arctan", "cth": "coth", "asin": "arcsin",
    "acos": "arccos", "atan": "arctan", "sh": "sinh", "ch": "cosh", "th": "tanh", "ceiling": "ceil", "sgn": "sign",
    "Re": "re", "Im": "im", "Arg": "arg",
}  # fmt: skip
"""Function names, with and without a backslash, and the name they have in a `Call`."""

INVERSES = {
    "sin": "arcsin", "cos": "arccos", "tan": "arctan", "cot": "arccot", "sinh": "arsinh", "cosh": "arcosh",
    "tanh": "artanh",
}  # fmt: skip
r"""What ``\sin^{-1}`` is."""

SYMBOLS = {
    **_same("alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi"),
    **_same("psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega hbar ell partial mho nabla"),
    **_same("aleph pi dots triangle setR setZ setN setQ setC circ prime square star ast oo"),
    "infty": "oo", "infinity": "oo", "inf": "oo", "infin": "oo", "Infinity": "oo", "varphi": "phi",
    "varepsilon": "epsilon", "vartheta": "theta", "imath": "i",
}  # fmt: skip
"""Names of more than one letter that are one symbol."""

HEDGES = frozenset(
    _same("or else otherwise maybe perhaps possibly probably not but either alternatively neither nor never")
)
"""Words that take an answer back, deny it, or offer another one."""

NO_FACTORS = HEDGES | frozenset(_same("and no yes is are if the any all has its was for by so"))
"""Short words of English, which are no products of their letters."""

RELATIONS = {
    "=": "=", "<": "<", ">": ">", "<=": "<=", ">=": ">=", "!=": "!=", "le": "<=", "ge": ">=", "ne": "!=", "in": "in",
    "approx": "~", "simeq": "~", "sim": "~", "~": "~", "cong": "~", "equiv": "=", "implies": "=>", "to": "->",
    "rightarrow": "->", "Rightarrow": "=>", "mapsto": "->", "notin": "notin", "subset": "subset", "coloneqq": "=",
}  # fmt: skip
"""Relation signs, and the operator they are in a `Relation`."""

FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
"""The inequality read from right to left."""

UNIT_WORDS = frozenset(
    _same("""
    a apples atm au books cards cent centimeter centimeters cents cm coins cubic day days degree degrees dm
    dollar dollars erg ergs euro euros ev feet foot ft g gev gram grams h hour hours hr hrs hz in inch inches j
    joule joules k kelvin kev kg kilogram kilograms kilometer kilometers km kmh kpc l liter liters litre litres
    m marbles men meter meters metre metres mev mg mile miles min minute minutes ml mm mol month months mpc mph
    ms n newton newtons nm pa pages pc pct people per percent percentage pm points pounds rad radian radians
    rupees s second seconds sq square students times ton tons um unit units usd v volt volts w watt watts ways
    week weeks women yard yards yd year years yuan
""")
)
"""Words that are units; single letters count as one only after a number and a space, at the very end."""

UNIT_NAMES = {
    "centimeter": "cm", "centimeters": "cm", "centimetres": "cm", "meter": "m", "meters": "m", "metre": "m",
    "metres": "m", "kilometer": "km", "kilometers": "km", "kilometres": "km", "inch": "in", "inches": "in",
    "foot": "ft", "feet": "ft",
    "yards": "yd", "yard": "yd", "miles": "mile", "gram": "g", "grams": "g", "kilogram": "kg", "kilograms": "kg",
    "hours": "h", "hour": "h", "hr": "h", "hrs": "h", "minutes": "min", "minute": "min",
    "seconds": "s", "second": "s", "sec": "s",
    "liters": "l", "liter": "l", "litres": "l", "litre": "l", "dollars": "dollar", "cents": "cent", "degrees": "deg",
    "degree": "deg", "percent": "%", "percentage": "%", "pct": "%", "days": "day", "weeks": "week", "years": "year",
    "months": "month", "units": "unit", "radians": "rad", "radian": "rad", "mile/h": "mph",
    "kmh": "km/h", "kph": "km/h",
    "newton": "N", "newtons": "N", "joule": "J", "joules": "J", "watt": "W", "watts": "W", "volt": "V", "volts": "V",
    "kelvin": "K", "kelvins": "K",
}  # fmt: skip
"""One name per unit."""
