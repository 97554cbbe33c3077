//! Packages of Node that the servers of the tests load, in the user's cache.

use std::process::Command;

use crate::need::{Need, Remedy};
use crate::places;

/// Names and versions. From its version 5 on, `redis` writes later, and together, what several requests ask for: nothing tells
/// then which request a command is for.
const PACKAGES: [(&str, &str); 2] = [("pg", "8"), ("redis", "4")];

/// What is missing of them, and of what fetches them.
pub(crate) fn needs() -> Vec<Need> {
    let folder = places::node();
    if PACKAGES
        .iter()
        .all(|(name, _)| folder.join("node_modules").join(name).exists())
    {
        return Vec::new();
    }
    let why = "it fetches packages of Node";
    let mut needs: Vec<Need> = Need::program("npm", "npm", why).into_iter().collect();
    let mut install = Command::new("npm");
    install
        .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
        .arg(&folder)
        .args(PACKAGES.map(|(name, version)| format!("{name}@{version}")));
    needs.push(Need {
        what: format!("{} for Node", PACKAGES.map(|(name, _)| name).join(", ")),
        why: "a server of the tests calls PostgreSQL and Redis",
        remedy: Remedy::Commands(vec![install]),
    });
    needs
}
