"""Tables of written English: abbreviations, units, symbols, and words that decide a reading.

Keys are in lower case and without periods unless a comment says otherwise.
"""

# Before a capital letter, with or without a period.
TITLES = {
    "mr": "mister",
    "mrs": "missus",
    "ms": "miss",
    "messrs": "messieurs",
    "mme": "madame",
    "dr": "doctor",
    "prof": "professor",
    "rev": "reverend",
    "gen": "general",
    "col": "colonel",
    "maj": "major",
    "capt": "captain",
    "cmdr": "commander",
    "lt": "lieutenant",
    "sgt": "sergeant",
    "cpl": "corporal",
    "pvt": "private",
    "adm": "admiral",
    "sen": "senator",
    "rep": "representative",
    "gov": "governor",
    "pres": "president",
    "hon": "honorable",
    "supt": "superintendent",
    "st": "saint",
    "mt": "mount",
    "ft": "fort",
}
# After a capitalised word or an ordinal number, and not before another name.
STREETS = {
    "st": "street",
    "dr": "drive",
    "ave": "avenue",
    "blvd": "boulevard",
    "rd": "road",
    "ln": "lane",
    "hwy": "highway",
    "pl": "place",
    "sq": "square",
}
# With a period, anywhere.
ABBREVIATIONS = {
    "e.g": "for example",
    "i.e": "that is",
    "etc": "et cetera",
    "vs": "versus",
    "cf": "compare",
    "viz": "namely",
    "approx": "approximately",
    "dept": "department",
    "esp": "especially",
    "govt": "government",
    "intl": "international",
    "univ": "university",
    "misc": "miscellaneous",
    "assn": "association",
    "asst": "assistant",
    "attn": "attention",
    "inc": "incorporated",
    "ltd": "limited",
    "co": "company",
    "corp": "corporation",
    "bros": "brothers",
    "jr": "junior",
    "sr": "senior",
    "ave": "avenue",
    "blvd": "boulevard",
    "rd": "road",
    "hwy": "highway",
    "ph.d": "P H D",
    "al": "al",
}
# Before a number, with or without a period.
BEFORE_NUMBERS = {
    "no": "number",
    "nos": "numbers",
    "vol": "volume",
    "ch": "chapter",
    "p": "page",
    "pp": "pages",
    "fig": "figure",
    "figs": "figures",
    "eq": "equation",
    "sec": "section",
    "art": "article",
    "apt": "apartment",
    "ext": "extension",
    "tel": "telephone",
    "est": "established",
    "ca": "circa",
    "c": "circa",
    "rm": "room",
    "v": "version",
}
# With a slash; the key has it.
SLASHED = {
    "w/o": "without",
    "w/": "with",
    "b/c": "because",
    "c/o": "care of",
    "n/a": "N A",
    "and/or": "and or",
    "24/7": "twenty four seven",
    "24/7/365": "twenty four seven three sixty five",
    "50/50": "fifty fifty",
    "9/11": "nine eleven",
}
# An abbreviation with a period ends the sentence before one of these.
STARTERS = frozenset(
    "a after all also although an and are as at because before but by did do does during each even"
    " every few finally for from had has have he her here his how however i if in is it its later"
    " many maybe meanwhile most my never no nobody not now of on once one or our perhaps she since"
    " so some soon still such that the their then there these they this those though to today"
    " together tomorrow two under until was we were what when where which while who why will with"
    " yes yesterday yet you your".split()
)
MONTHS = (
    "january february march april may june july august september october november december"
).split()
SHORT_MONTHS = {month[:3]: month for month in MONTHS} | {"sept": "september"}
DAYS = {
    "mon": "monday",
    "tue": "tuesday",
    "tues": "tuesday",
    "wed": "wednesday",
    "thu": "thursday",
    "thur": "thursday",
    "thurs": "thursday",
    "fri": "friday",
    "sat": "saturday",
    "sun": "sunday",
}
# One, several, a hundredth, hundredths.
CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "US$": ("U S dollar", "U S dollars", "cent", "cents"),
    "C$": ("canadian dollar", "canadian dollars", "cent", "cents"),
    "A$": ("australian dollar", "australian dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
    "¥": ("yen", "yen", "sen", "sen"),
    "₹": ("rupee", "rupees", "paisa", "paise"),
    "USD": ("U S dollar", "U S dollars", "cent", "cents"),
    "EUR": ("euro", "euros", "cent", "cents"),
    "GBP": ("pound", "pounds", "penny", "pence"),
    "CHF": ("swiss franc", "swiss francs", "centime", "centimes"),
    "JPY": ("yen", "yen", "sen", "sen"),
}
MAGNITUDES = {
    "k": "thousand",
    "m": "million",
    "mn": "million",
    "b": "billion",
    "bn": "billion",
    "t": "trillion",
    "tn": "trillion",
} | {name: name for name in "hundred thousand million billion trillion".split()}
# "A $5 bill" has one dollar in its name.
PRICED = frozenset("bill bills note notes coin coins fine ticket tickets fee tax deal gift".split())
_METRIC = {"n": "nano", "µ": "micro", "m": "milli", "c": "centi", "k": "kilo", "": ""}
_LARGE = {"": "", "k": "kilo", "K": "kilo", "M": "mega", "G": "giga", "T": "tera"}
# Symbols after a number, in their own case: one, several.
UNITS = {
    **{f"{p}m": (f"{n}meter", f"{n}meters") for p, n in _METRIC.items()},
    **{f"{p}g": (f"{n}gram", f"{n}grams") for p, n in _METRIC.items() if p not in "nc"},
    **{f"{p}s": (f"{n}second", f"{n}seconds") for p, n in _METRIC.items() if p not in "ck"},
    **{f"{p}L": (f"{n}liter", f"{n}liters") for p, n in _METRIC.items() if p not in "nk"},
    **{f"{p}l": (f"{n}liter", f"{n}liters") for p, n in _METRIC.items() if p not in "nk"},
    **{f"{p}Hz": (f"{n}hertz", f"{n}hertz") for p, n in _LARGE.items()},
    **{f"{p}B": (f"{n}byte", f"{n}bytes") for p, n in _LARGE.items() if p},
    **{
        f"{p}bps": (f"{n}bit per second", f"{n}bits per second")
        for p, n in _LARGE.items()
        if p != "T"
    },
    **{f"{p}W": (f"{n}watt", f"{n}watts") for p, n in _LARGE.items() if p != "K"},
    **{f"{p}V": (f"{n}volt", f"{n}volts") for p, n in _LARGE.items() if p in ("", "k")},
    **{f"{p}Pa": (f"{n}pascal", f"{n}pascals") for p, n in _LARGE.items() if p in ("k", "M")},
    **{f"{p}J": (f"{n}joule", f"{n}joules") for p, n in _LARGE.items() if p in ("", "k", "M")},
    "g": ("gram", "grams"),
    "s": ("second", "seconds"),
    "h": ("hour", "hours"),
    "hr": ("hour", "hours"),
    "hrs": ("hour", "hours"),
    "min": ("minute", "minutes"),
    "mins": ("minute", "minutes"),
    "sec": ("second", "seconds"),
    "secs": ("second", "seconds"),
    "mi": ("mile", "miles"),
    "ft": ("foot", "feet"),
    "yd": ("yard", "yards"),
    "lb": ("pound", "pounds"),
    "lbs": ("pound", "pounds"),
    "oz": ("ounce", "ounces"),
    "gal": ("gallon", "gallons"),
    "ha": ("hectare", "hectares"),
    "kWh": ("kilowatt hour", "kilowatt hours"),
    "mA": ("milliamp", "milliamps"),
    "mAh": ("milliamp hour", "milliamp hours"),
    "mV": ("millivolt", "millivolts"),
    "kcal": ("kilocalorie", "kilocalories"),
    "cal": ("calorie", "calories"),
    "dB": ("decibel", "decibels"),
    "px": ("pixel", "pixels"),
    "mph": ("mile per hour", "miles per hour"),
    "kph": ("kilometer per hour", "kilometers per hour"),
    "km/h": ("kilometer per hour", "kilometers per hour"),
    "m/s": ("meter per second", "meters per second"),
    "m/s²": ("meter per second squared", "meters per second squared"),
    "rpm": ("revolution per minute", "revolutions per minute"),
    "fps": ("frame per second", "frames per second"),
    "bpm": ("beat per minute", "beats per minute"),
    "ppm": ("part per million", "parts per million"),
    "sq ft": ("square foot", "square feet"),
    **{f"{u}²": (f"square {n}", f"square {n}s") for u, n in (("m", "meter"), ("mi", "mile"))},
    **{f"{u}²": (f"square {n}meter", f"square {n}meters") for u, n in (("km", "kilo"),)},
    **{f"{u}²": (f"square {n}meter", f"square {n}meters") for u, n in (("cm", "centi"),)},
    "m³": ("cubic meter", "cubic meters"),
    "cm³": ("cubic centimeter", "cubic centimeters"),
    "ft²": ("square foot", "square feet"),
    "°C": ("degree celsius", "degrees celsius"),
    "°F": ("degree fahrenheit", "degrees fahrenheit"),
    "°": ("degree", "degrees"),
    "%": ("percent", "percent"),
    "‰": ("per mille", "per mille"),
    "¢": ("cent", "cents"),
    "x": ("times", "times"),
}
SYMBOLS = {
    "&": "and",
    "+": "plus",
    "=": "equals",
    "@": "at",
    "%": "percent",
    "/": "slash",
    "\\": "backslash",
    "<": "less than",
    ">": "greater than",
    "≤": "at most",
    "≥": "at least",
    "≈": "about",
    "≠": "is not",
    "×": "times",
    "÷": "divided by",
    "±": "plus or minus",
    "−": "minus",
    "°": "degrees",
    "²": "squared",
    "³": "cubed",
    "^": "to the power of",
    "√": "the square root of",
    "∞": "infinity",
    "π": "pi",
    "$": "dollars",
    "£": "pounds",
    "€": "euros",
    "¥": "yen",
    "₹": "rupees",
    "¢": "cents",
    "©": "copyright",
    "®": "registered",
    "™": "trademark",
    "§": "section",
    "→": "to",
    "#": "hash",
}
# Names with symbols or unusual capitals that would be split otherwise; keys in their own case.
NAMES = {
    "C++": "C plus plus",
    "C#": "C sharp",
    "F#": "F sharp",
    "AT&T": "A T and T",
    "R&B": "R and B",
    "R&D": "R and D",
    "Q&A": "Q and A",
    "PhD": "P H D",
    "PhDs": "P H D's",
    "OK": "okay",
    "Ok": "okay",
    "ok": "okay",
}
# Elided words that begin with an apostrophe.
ELIDED = {
    "'tis": "it is",
    "'twas": "it was",
    "'em": "em",
    "'cause": "because",
    "'til": "until",
    "'n'": "and",
    "'n": "and",
    "'bout": "about",
    "'round": "around",
}
# Capitals that are read as a word although no dictionary may have it.
READ_AS_WORDS = frozenset(
    "NASA NATO AIDS SARS MERS OPEC LASER RADAR SONAR SCUBA ASCII JPEG GIF RAM ROM PIN SIM ZIP WIFI"
    " UNESCO UNICEF COVID NAFTA FIFA UEFA NASDAQ SWAT TED PETA FEMA NOAA".split()
)
# Capitals that are spelled although they look like a word.
SPELLED = frozenset(
    "US IT UN AI TV EU UK PC ID AM PM IP OS CD HR PR ER WHO SAT UV DIY IQ ET MA PA LA DA IV VIP"
    " CO FAQ ISO GPS CEO CFO CTO API ATM USA URL UFO RV".split()
)
# Before a Roman numeral that is read as a cardinal.
NUMBERED = frozenset(
    "chapter part book volume vol act scene section appendix article phase war type title figure"
    " table level class grade bowl page stage lesson unit canto verse episode season tier schedule"
    " division".split()
)
# Names of rulers and popes: a Roman numeral after them is an ordinal, with "the".
RULERS = frozenset(
    "henry louis george elizabeth charles edward richard william james john paul pius benedict"
    " napoleon philip philippe peter catherine nicholas alexander ivan frederick francis ferdinand"
    " leo gregory innocent urban clement mary victoria robert ramses ramesses ptolemy cleopatra"
    " darius xerxes otto wilhelm friedrich gustav christian margaret malcolm david haakon olav"
    " umberto juan carlos alfonso isabella mehmed selim suleiman murad thutmose amenhotep".split()
)
# Before a four-digit number that is a year.
BEFORE_YEARS = frozenset(
    "in since by until till after before around circa year during from between of and late early"
    " mid spring summer autumn fall winter".split()
) | frozenset(MONTHS)
# After a four-digit number that counts something, beside plurals in -s.
COUNTED = frozenset("people men women children sheep feet miles percent dollars of or".split())
# Words in -s that are no plurals.
NOT_PLURAL = frozenset("was is has as this its us his does always perhaps less thus plus".split())
# Before a version, whose parts are whole numbers: "Python 3.10" is "three point ten".
VERSIONED = frozenset("version python release android java ios macos php chrome firefox".split())
# Before a short number that is spelled.
DIALLED = frozenset("call dial called dialed dialled calling dialing".split())
