"""Run the tests on each supported Python that is installed: ``make test-pythons``."""

import nox

nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = False


@nox.session(python=nox.project.python_versions(nox.project.load_toml("pyproject.toml")))
def tests(session: nox.Session) -> None:
    """Run all tests, or those named after ``--``."""
    session.install("--editable", ".[cli,otel,dev]")
    session.run("python", "-m", "pytest", "-n", "auto", *session.posargs)
