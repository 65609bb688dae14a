"""The report: tables, statistics, figures and pages made from result folders. Nothing here trains or evaluates."""

from pathlib import Path


def build(
    studies: list[str] | None = None, results: Path = Path("results"), reports: Path = Path("reports")
) -> list[Path]:
    """Build the HTML pages of the named studies (all with results by default) and `index.html` -> these pages.

    Raises SintroError for an unknown study, or when a page cannot be written.
    """
    from sintro.report import site  # jinja2, scipy and matplotlib only where pages are built

    return site.build(studies, Path(results), Path(reports))
