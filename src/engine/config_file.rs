//! vLLM's `--config FILE`: flags in a YAML file, which count under those of the
//! command line. It is read where this machine has it.

use std::path::Path;

use serde_json::Value;

use super::compose::{MountKind, ServiceSpec};
use crate::configuration::Flags;
use crate::flags;

/// The path on this machine of a file in a service's container: one in a bind mount.
pub fn host_path(service: &ServiceSpec, inside: &str) -> Option<std::path::PathBuf> {
    let inside = match service.working_dir.as_deref() {
        Some(folder) => Path::new(folder).join(inside),
        None => Path::new(inside).to_owned(),
    };
    let mounted = service.mounts.iter().filter(|it| it.kind == MountKind::Bind);
    let within = mounted.filter_map(|mount| {
        let rest = inside.strip_prefix(&mount.target).ok()?;
        let source = Path::new(mount.source.as_deref()?);
        let path = if rest.as_os_str().is_empty() { source.to_owned() } else { source.join(rest) };
        Some((mount.target.len(), path))
    });
    within.max_by_key(|(depth, _)| *depth).map(|(_, path)| path)
}

/// The flags of a file, as far as they are flags; `None` where it cannot be read.
pub fn read(path: &Path) -> Option<Flags> {
    let text = crate::input::text(path).ok()?;
    let Value::Object(pairs) = serde_saphyr::from_str::<Value>(&text).ok()? else { return None };
    let typed = |(name, value): (String, Value)| {
        let name = flags::resolve(&name);
        let value = flags::check(&name, &value).unwrap_or(value);
        (name, value)
    };
    Some(pairs.into_iter().map(typed).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::engine::compose::Mount;

    #[test]
    fn a_file_in_a_bind_mount_is_found_on_this_machine() {
        let mount = |kind, source: &str, target: &str| Mount {
            kind,
            source: Some(source.to_owned()),
            target: target.to_owned(),
            read_only: true,
            create_host_path: false,
            ..Mount::default()
        };
        let service = ServiceSpec {
            mounts: vec![
                mount(MountKind::Bind, "/srv", "/etc"),
                mount(MountKind::Bind, "/home/x/vllm.yaml", "/etc/vllm.yaml"),
                mount(MountKind::Volume, "v", "/data"),
            ],
            working_dir: Some("/etc".to_owned()),
            ..ServiceSpec::default()
        };
        let found = |inside: &str| host_path(&service, inside).map(|it| it.display().to_string());
        assert_eq!(found("/etc/vllm.yaml").as_deref(), Some("/home/x/vllm.yaml"));
        assert_eq!(found("other.yaml").as_deref(), Some("/srv/other.yaml"));
        assert_eq!(found("/data/c.yaml"), None, "a volume is the daemon's");
    }

    #[test]
    fn flags_are_read_as_the_command_line_types_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("c.yaml");
        std::fs::write(
            &path,
            "model: m\nmax_num_seqs: 16\nenable-prefix-caching: true\nport: 9000\n",
        )
        .expect("written");
        let flags = serde_json::to_value(read(&path)).expect("JSON");
        assert_eq!(
            flags,
            json!({"enable-prefix-caching": true, "max-num-seqs": 16, "model": "m", "port": 9000})
        );
        std::fs::write(&path, "- no mapping\n").expect("written");
        assert_eq!(read(&path), None);
        assert_eq!(read(&folder.path().join("not-there")), None);
    }
}
