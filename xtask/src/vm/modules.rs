//! Picks the modules that a guest needs to reach its root file system, and a few that tests load on demand.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::vm::kernel::Files;

/// Loaded at start; what a kernel has built in, or does not know, is passed over.
pub(crate) const AT_START: [&str; 6] = [
    "virtio_pci",
    "virtio_console",
    "virtio_rng",
    "9pnet_virtio",
    "9p",
    "overlay",
];
/// Loaded by the kernel when somebody asks: socket listings, kernel TLS with its ciphers, virtual networks.
pub(crate) const ON_DEMAND: [&str; 11] = [
    "inet_diag",
    "tcp_diag",
    "unix_diag",
    "af_packet_diag",
    "tls",
    "gcm",
    "ctr",
    "ghash_generic",
    "veth",
    "sch_netem",
    "nf_conntrack",
];

/// One module, uncompressed, with what its own description says.
pub(crate) struct Module {
    /// Its name with underscores.
    pub(crate) name: String,
    /// The names of the modules it needs.
    pub(crate) needs: Vec<String>,
    /// Names under which the kernel asks for it.
    pub(crate) aliases: Vec<String>,
    /// The object file.
    pub(crate) object: Vec<u8>,
}

/// The chosen modules with all that they need.
pub(crate) fn choose(kernel: &Files, busybox: &Path) -> Result<Vec<Module>> {
    let mut files = HashMap::new();
    index(&kernel.modules.join("kernel"), &mut files)?;
    let mut wanted: Vec<String> = AT_START.iter().chain(&ON_DEMAND).map(|&name| name.to_owned()).collect();
    let mut chosen: Vec<Module> = Vec::new();
    while let Some(name) = wanted.pop() {
        if chosen.iter().any(|module| module.name == name) {
            continue;
        }
        let Some(file) = files.get(&name) else { continue };
        let module = read(name, file, busybox)?;
        wanted.extend(module.needs.iter().cloned());
        chosen.push(module);
    }
    Ok(chosen)
}

fn index(folder: &Path, files: &mut HashMap<String, PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", folder.display()))?;
        let path = entry.path();
        if path.is_dir() {
            index(&path, files)?;
        } else if let Some((name, _)) = entry.file_name().to_str().and_then(|name| name.split_once(".ko")) {
            files.insert(name.replace('-', "_"), path);
        }
    }
    Ok(())
}

fn read(name: String, file: &Path, busybox: &Path) -> Result<Module> {
    let compressed = file.extension().is_some_and(|extension| extension == "xz");
    let object = if compressed {
        let output = Command::new(busybox)
            .args(["xz", "-dc"])
            .arg(file)
            .output()
            .context("cannot start busybox")?;
        if !output.status.success() {
            bail!(
                "cannot decompress {}: {}",
                file.display(),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        output.stdout
    } else {
        fs::read(file).with_context(|| format!("cannot read {}", file.display()))?
    };
    let needs =
        described(&object, "depends=").flat_map(|names| names.split(',').map(str::to_owned).collect::<Vec<_>>());
    let needs = needs
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect();
    let aliases = described(&object, "alias=").map(str::to_owned).collect();
    Ok(Module {
        name,
        needs,
        aliases,
        object,
    })
}

/// The values of a key in the module's description: strings that each end with a zero byte.
fn described<'a>(object: &'a [u8], key: &'a str) -> impl Iterator<Item = &'a str> {
    let strings = object.split(|&byte| byte == 0);
    strings.filter_map(move |string| std::str::from_utf8(string.strip_prefix(key.as_bytes())?).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_found_between_zero_bytes() {
        let object = b"\x7fELF\0license=GPL\0depends=netfs,9pnet\0alias=fs-9p\0\0";
        assert_eq!(described(object, "depends=").collect::<Vec<_>>(), ["netfs,9pnet"]);
        assert_eq!(described(object, "alias=").collect::<Vec<_>>(), ["fs-9p"]);
    }
}
