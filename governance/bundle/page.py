"""One page for whoever has to decide: what changes, how it was tested, what is open, who signs."""

from collections.abc import Iterator

from governance.bundle import results, sections
from governance.bundle.folder import Bundle
from governance.bundle.groups import Change, Purpose
from governance.bundle.markup import (
    STYLE,
    Html,
    day,
    element,
    items,
    join,
    number,
    section,
    short,
    table,
    text,
)
from governance.bundle.verify import Verification
from governance.checks import Check

# Nothing is fetched and nothing runs, whatever a document says.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def render(found: Verification, now: int) -> str:
    """The page as HTML text. All that was written by anybody is escaped.

    Args:
        found: a verification whose bundle could be read.
        now: seconds since 1970 UTC, told at the page's foot.

    Raises:
        ValueError: there is no bundle to show.

    """
    bundle = found.bundle
    if bundle is None:
        raise ValueError("a bundle that cannot be read has no page")
    body = join(
        [
            _header(bundle),
            _banner(found),
            sections.decision(bundle, found),
            sections.change(bundle),
            results.shadow(bundle, found.outcome),
            results.evaluation(bundle),
            results.speed(bundle),
            sections.still_open(bundle),
            sections.way_back(bundle),
            sections.signatures(bundle, found),
            sections.explanation(bundle),
            sections.origin(bundle),
            _checks(found),
            _footer(bundle, now),
        ]
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{text(f"{bundle.model}: evidence")}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def _header(bundle: Bundle) -> Html:
    change, purpose = bundle.group(Change), bundle.group(Purpose)
    version = sections.version_of(bundle)
    return join(
        [
            element("h1", f"{bundle.model}: shall this candidate go live?"),
            element("p", change.summary, "lead") if change.summary else "",
            element(
                "p",
                join(
                    [
                        f"{version}, digest ",
                        short(bundle.candidate),
                        ", in place of ",
                        _place_of(change),
                        f". {purpose.intended_use or ''}",
                    ]
                ),
                "muted",
            ),
        ]
    )


def _place_of(change: Change) -> object:
    if change.expected_incumbent is not None:
        return short(change.expected_incumbent)
    return "nothing: it is the first" if change.first else "what is live (not said yet)"


def _banner(found: Verification) -> Html:
    findings = found.checks.findings
    if findings:
        told_of = number(len(findings), "finding")
        told = items(f"{line.what}: {line.sentence} [{line.reason}]" for line in findings[:20])
        return _box(
            "bad",
            join(
                [
                    element("strong", f"Do not sign: {told_of} in this bundle."),
                    told,
                ]
            ),
        )
    counts = found.checks.counts
    report = found.outcome.report
    failed = report is not None and report.predicate.verdict == "FAIL"
    return _box(
        "bad" if failed else "good",
        join(
            [
                element("strong", "It failed on live requests and cannot be promoted. ")
                if failed
                else "",
                element("strong", "Everything in this bundle that can be checked holds: "),
                f"{counts['holds']} checks of files, signatures, verdicts and figures. ",
                f"{counts['unchecked']} could not be made; they are listed at the end.",
            ]
        ),
    )


def _box(css: str, inner: Html) -> Html:
    return Html(f'<div class="banner {css}"><div>{inner}</div></div>')


def _checks(found: Verification) -> Html:
    unchecked = [line for line in found.checks.lines if line.state == "unchecked"]
    rows = ((_word(line), line.what, line.sentence) for line in found.checks.lines)
    return section(
        "What was checked",
        element("p", "Not checked, because a bundle alone does not tell:") if unchecked else "",
        items(f"{line.what}: {line.sentence}" for line in unchecked) if unchecked else "",
        Html("<details><summary>Every check</summary>"),
        table(("", "what", "found"), rows, words=3),
        Html("</details>"),
    )


def _word(line: Check) -> Html:
    css = {"holds": "good", "fails": "bad"}.get(line.state, "wait")
    return element("span", line.state, css)


def _footer(bundle: Bundle, now: int) -> Html:
    def told() -> Iterator[object]:
        yield f"Rendered {day(now)} from bundle "
        yield element("code", bundle.digest)
        yield f" with {len(bundle.manifest.files)} files. An approval names this digest. "
        yield "What this page says is what the bundle says; `sluicegate bundle verify` checks it."

    return element("footer", element("p", join(told())))
