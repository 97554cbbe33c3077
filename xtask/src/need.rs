//! What a command needs of the machine. A need knows what it is, why, and what would satisfy it; whether it is there is
//! found out by asking the machine before the need is made. Everything is announced before anything is installed.

use std::fs;
use std::process::Command;

use anyhow::{Result, bail};

use crate::apt::{Apt, Installed, Mirrors};
use crate::old::Old;
use crate::{command, places};

/// Something that is missing on this machine.
pub(crate) struct Need {
    /// What is missing, in the operator's words.
    pub(crate) what: String,
    /// What it is for.
    pub(crate) why: &'static str,
    /// What would bring it.
    pub(crate) remedy: Remedy,
}

/// What satisfies a need.
pub(crate) enum Remedy {
    /// Packages of the distribution. Those of all needs are installed in one go, before any command.
    Packages(Vec<String>),
    /// Commands, in this order, that write to the user's cache only.
    Commands(Vec<Command>),
    /// Packages of another release, unpacked into the user's cache.
    Unpacked(Old),
}

impl Need {
    /// A need for packages of the distribution.
    pub(crate) fn packages<P: Into<String>>(
        what: &str,
        why: &'static str,
        packages: impl IntoIterator<Item = P>,
    ) -> Self {
        let packages = packages.into_iter().map(Into::into).collect();
        Self {
            what: what.to_owned(),
            why,
            remedy: Remedy::Packages(packages),
        }
    }

    /// A need for one package that brings this program; none if the program is there.
    pub(crate) fn program(program: &str, package: &str, why: &'static str) -> Option<Self> {
        command::find(program)
            .is_none()
            .then(|| Self::packages(program, why, [package]))
    }
}

/// Installs what is missing, after saying what and why; or refuses with the commands that would do it.
pub(crate) fn satisfy(needs: Vec<Need>, no_install: bool) -> Result<()> {
    if needs.is_empty() {
        return Ok(());
    }
    println!(
        "missing on this machine{}:",
        if no_install { "" } else { ", about to be installed" }
    );
    for need in &needs {
        println!("  {:<28} {}", need.what, need.why);
        if let Remedy::Packages(packages) = &need.remedy {
            println!("  {:<28}   by packages: {}", "", packages.join(" "));
        }
    }
    let mut packages: Vec<String> = Vec::new();
    let mut commands = Vec::new();
    let mut unpacked = Vec::new();
    for need in needs {
        match need.remedy {
            Remedy::Packages(names) => packages.extend(names),
            Remedy::Commands(own) => commands.extend(own),
            Remedy::Unpacked(old) => unpacked.push(old),
        }
    }
    packages.sort();
    packages.dedup();

    if no_install {
        println!("commands that would install it:");
        if !packages.is_empty() {
            println!("  apt-get update");
            println!("  apt-get install {} {}", APT_FLAGS.join(" "), packages.join(" "));
        }
        for command in &commands {
            println!("  {}", command::shown(command));
        }
        for old in &unpacked {
            println!("  {}", old.shown());
        }
        bail!("something is missing, and --no-install forbids to install it");
    }
    if !packages.is_empty() {
        install_packages(&packages)?;
    }
    for mut command in commands {
        command::run(&mut command)?;
    }
    for old in unpacked {
        old.fetch()?;
    }
    Ok(())
}

/// Nothing may be removed: rather fail than take away, say, a rustc of the user's choice.
const APT_FLAGS: [&str; 3] = ["-y", "--no-install-recommends", "--no-remove"];

fn install_packages(packages: &[String]) -> Result<()> {
    if command::find("apt-get").is_none() {
        bail!(
            "this is no Debian: install the equivalents of {} by hand, then try again",
            packages.join(" ")
        );
    }
    let fits = || {
        command::works(
            Command::new("apt-get")
                .args(["install", "--simulate"])
                .args(APT_FLAGS)
                .args(packages),
        )
    };
    let install = || -> Result<()> { command::run(apt_install()?.args(packages)) };
    // A fresh machine has no package lists, an old one has lists of versions that the archive has replaced since.
    if fits() && install().is_ok() {
        return Ok(());
    }
    command::run(command::as_root("apt-get")?.args(["update", "--quiet"]))?;
    match backports() {
        Some(backports) if !fits() => install_from(&backports, packages),
        _ => install(),
    }
}

fn apt_install() -> Result<Command> {
    let mut apt = command::as_root("env")?;
    apt.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--quiet"])
        .args(APT_FLAGS);
    Ok(apt)
}

/// The suite of newer packages for this release of Debian.
fn backports() -> Option<String> {
    let release = fs::read_to_string("/etc/os-release").ok()?;
    let value = |name: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim_matches('"').to_owned())
    };
    (value("ID=")? == "debian").then_some(format!("{}-backports", value("VERSION_CODENAME=")?))
}

/// Where some packages are from the backports already, those of the release may not go with them (the parts of QEMU all
/// have to be of one version). Those of the backports do. The machine's sources are left as they are.
fn install_from(backports: &str, packages: &[String]) -> Result<()> {
    println!("the release's packages do not go with what is installed; taking those of {backports}");
    let release = backports.trim_end_matches("-backports");
    let security = format!("{release}-security");
    let folder = places::target().join("apt");
    let suites = [release, &security, backports];
    let apt = Apt::new(folder, &suites, &Mirrors::of_machine(), Installed::AsItIs)?;
    command::run(
        command::as_root("apt-get")?
            .args(apt.options())
            .args(["update", "--quiet"]),
    )?;
    let installed = command::run(
        apt_install()?
            .args(apt.options())
            .args(["--target-release", backports])
            .args(packages),
    );
    // By root, to whom the lists belong.
    command::run(command::as_root("rm")?.arg("-r").arg(&apt.folder))?;
    installed
}
