"""Names of guides: the gene in `sgTP53-1`, `TP53_+_7687550.23-P1P2` or `TP53_ACGT...`."""

import re
from collections.abc import Container, Iterable

_SUFFIX = r"(?:sg|g|sgrna|grna|guide|cr|crrna|rep|seq|oligo)?[-_. ]?\d{1,6}[a-d]?"
METHODS = ("KO", "cKO", "KD", "OE", "ORF", "knockout", "knockdown", "overexpression", "CRISPRi", "CRISPRa", "CRISPRko")
"""Words behind a gene that say what was done to it."""
_STYLES: tuple[tuple[str, re.Pattern], ...] = (
    ("GENE_+_POSITION", re.compile(r"(.+?)_[-+]_\d+(?:\.\d+)?(?:-\w+)?(?:-\w+)?")),
    ("GENE_SEQUENCE", re.compile(r"(.+?)[-_. ][ACGTacgt]{15,}")),
    ("sgGENE-NUMBER", re.compile(rf"(?:sgRNA|gRNA|crRNA|guide|sg|g|si|sh|siRNA|shRNA)[-_. ]?(.+?)[-_. #:]{_SUFFIX}")),
    ("sgGENE", re.compile(r"(?:sgRNA|gRNA|crRNA|guide|sg|g|si|sh|siRNA|shRNA)[-_. ]?(.+)")),
    ("GENE (NUMBER)", re.compile(r"(.+?)[-_. ]?\(\d{1,5}\)")),
    ("GENE-NUMBER", re.compile(rf"(.+?)[-_. #:]{_SUFFIX}", re.IGNORECASE)),
    ("GENEgNUMBER", re.compile(r"(.+?)(?:sg|g|sgRNA|gRNA)\d{1,3}")),
    ("GENE_P1P2", re.compile(r"(.+?)_P\d(?:P\d)?(?:_[A-Z])?")),
    ("GENE KO", re.compile(rf"(.+?)(?:[-_. ]\(?(?:{'|'.join(METHODS)})\)?|K[OD])(?:[-_. ]\d{{1,3}})?")),
    ("GENE_TSS", re.compile(r"(.+?)[-_. ](?:TSS\d?|promoter)", re.IGNORECASE)),
    ("LIBRARY0001-GENE", re.compile(r"(?!LINC)[A-Za-z]{2,}\d{4,}[-_](.+)")),
)

_METHOD = re.compile(rf".+?(?:[-_. ]\(?({'|'.join(METHODS)})\)?|(K[OD]))(?:[-_. ]\d{{1,3}})?")


def gene_of_guide(label: str, known: Container[str]) -> tuple[str, str] | None:
    """The gene that a guide's name carries, and the style of the name; None where no style gives a known gene.

    Examples:
        >>> gene_of_guide("sgTP53-1", {"TP53"}), gene_of_guide("NKX2-5", {"TP53", "NKX2-5"})
        (('TP53', 'sgGENE-NUMBER'), None)
    """
    if label in known:
        return None
    return next(((gene, style) for style, gene in candidates(label) if gene in known), None)


def method_of(label: str) -> str:
    """What the word behind a gene's name says was done to it (`KO` of `TP53 knockout`); '' where there is none."""
    match = _METHOD.fullmatch(label)
    word = (match[1] or match[2]).upper() if match else ""
    same = {"CKO": "KO", "KNOCKOUT": "KO", "CRISPRKO": "KO", "KNOCKDOWN": "KD", "ORF": "OE", "OVEREXPRESSION": "OE"}
    return same.get(word, word)


def candidates(label: str) -> list[tuple[str, str]]:
    """(style, gene) for every style that a name has the form of."""
    matches = ((style, pattern.fullmatch(label)) for style, pattern in _STYLES)
    return [(style, match[1]) for style, match in matches if match]


def sisters(labels: Iterable[str]) -> dict[str, list[str]]:
    """Gene -> labels that would be its guides, for names that end in a number, where there are two or more."""
    groups: dict[str, list[str]] = {}
    for label in labels:
        for style, gene in candidates(label):
            if style in (
                "GENE-NUMBER",
                "GENE_+_POSITION",
                "GENE_SEQUENCE",
                "GENE_P1P2",
                "GENE (NUMBER)",
                "GENEgNUMBER",
                "LIBRARY0001-GENE",
            ):
                groups.setdefault(gene, []).append(label)
                break
    return {gene: members for gene, members in groups.items() if len(members) > 1}


def worded_sisters(labels: Iterable[str], known: Container[str]) -> dict[str, list[str]]:
    """Known gene -> labels that add different words to it behind a '-' (`TP53-A`, `TP53-B`), two or more."""
    groups: dict[str, list[str]] = {}
    for label in labels:
        gene, dash, _ = label.rpartition("-")
        if dash and gene in known:
            groups.setdefault(gene, []).append(label)
    return {gene: members for gene, members in groups.items() if len(members) > 1}
