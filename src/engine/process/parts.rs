//! What a server's process is made of besides its command line, part by part, so that a later
//! session can say what changed: the program that is found under its name, and the variables
//! that it inherits and that engines read. Values are kept as hashes, those of secrets not at
//! all. Which version of the engine that is shows only once it serves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::configuration::{canonical, hexadecimal};
use crate::secret::is_secret;

/// Beginnings of the names of variables that change what is measured.
const READ: &[&str] = &[
    "VLLM_",
    "CUDA_",
    "NVIDIA_",
    "NCCL_",
    "HF_",
    "TORCH",
    "PYTORCH_",
    "TRITON_",
    "FLASHINFER_",
    "OMP_",
    "MKL_",
    "PYTHON",
    "LD_",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
];
/// Our own: they choose where runs are noted, and change from session to session.
const OURS: &str = "VLLM_GRID_";
/// What begins a script: what it starts is written in it.
const SCRIPT: &[u8] = b"#!";

/// Name of each part, and a hash of what it is, where `program` is started with this environment.
pub(super) fn of(
    program: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> BTreeMap<String, String> {
    let mut parts = BTreeMap::new();
    let mut folders = String::new();
    for (name, value) in variables {
        let is_read = READ.iter().any(|begin| name.starts_with(begin)) && !name.starts_with(OURS);
        if is_read && !is_secret(&name) {
            parts.insert(format!("environment: {name}"), hash(&json!(value)));
        }
        if name == "PATH" {
            folders = value;
        }
    }
    if let Some(path) = found(program, &folders) {
        let bytes = std::fs::read(&path).unwrap_or_default();
        let script = bytes.starts_with(SCRIPT).then(|| hexadecimal(&Sha256::digest(&bytes)));
        parts.insert("program".to_owned(), hash(&json!([path.to_string_lossy(), script])));
    }
    parts
}

/// The file that a program's name starts.
fn found(program: &str, folders: &str) -> Option<PathBuf> {
    let path = if program.contains('/') {
        Path::new(program).to_owned()
    } else {
        std::env::split_paths(folders).map(|it| it.join(program)).find(|it| it.is_file())?
    };
    path.canonicalize().ok()
}

fn hash(value: &Value) -> String {
    hexadecimal(&Sha256::digest(canonical(value).as_bytes())[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_program_another_script_and_another_variable_are_parts_and_no_secret_is() {
        let place = tempfile::tempdir().expect("a folder");
        let write = |folder: &str, text: &str| {
            let folder = place.path().join(folder);
            std::fs::create_dir_all(&folder).expect("made");
            std::fs::write(folder.join("vllm"), text).expect("written");
            folder.display().to_string()
        };
        let old = write("old/bin", "#!/old/bin/python\n");
        let with = |path: &str, variables: &[(&str, &str)]| {
            let path = [("PATH", path)];
            let all = path.iter().chain(variables).map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
            of("vllm", all)
        };
        let before = with(&old, &[("VLLM_USE_V1", "1")]);
        assert_eq!(before.keys().collect::<Vec<_>>(), ["environment: VLLM_USE_V1", "program"]);
        assert_eq!(with(&format!("/nowhere:{old}"), &[("VLLM_USE_V1", "1")]), before);
        let same = [
            ("HOME", "/x"),
            ("VLLM_GRID_STATE", "/y"),
            ("VLLM_API_KEY", "sk-1"),
            ("HF_TOKEN", "hf-1"),
            ("VLLM_USE_V1", "1"),
        ];
        assert_eq!(with(&old, &same), before, "none of them changes what is measured");
        assert_ne!(with(&old, &[("VLLM_USE_V1", "0")]), before);
        let new = write("new/bin", "#!/old/bin/python\n");
        assert_ne!(with(&new, &[("VLLM_USE_V1", "1")])["program"], before["program"]);
        write("old/bin", "#!/another/bin/python\n");
        assert_ne!(with(&old, &[("VLLM_USE_V1", "1")])["program"], before["program"]);
        assert_eq!(with("", &[]), BTreeMap::new(), "there is none");
    }
}
