//! Where production's container can be asked from this host, and with which key, as the
//! container itself shows.

use std::net::IpAddr;

use bollard::models::{ContainerConfig, ContainerInspectResponse, PortBinding};

use crate::engine::command_view::CommandView;
use crate::server::ApiKey;

/// Where it can be asked from this host: a published port, else its own address.
pub(super) fn address(seen: &ContainerInspectResponse) -> Option<String> {
    let config = seen.config.as_ref()?;
    let port = started_by(config).port();
    let network = seen.network_settings.as_ref()?;
    let ports = network.ports.as_ref();
    let bindings = ports.and_then(|ports| ports.get(&format!("{port}/tcp"))?.as_ref());
    // IPv4 first: not every host has routes of IPv6.
    let by_family = |it: &&PortBinding| listens_at(it).contains(':');
    if let Some(binding) = bindings.and_then(|all| all.iter().min_by_key(by_family)) {
        return Some(url(&listens_at(binding), binding.host_port.as_deref()?));
    }
    let networks = network.networks.as_ref()?;
    let port = port.to_string();
    if networks.contains_key("host") {
        return Some(url("127.0.0.1", &port));
    }
    let given = |ip: &Option<String>| ip.clone().filter(|ip| !ip.is_empty());
    let own = networks.values().find_map(|end| given(&end.ip_address));
    let own = own.or_else(|| networks.values().find_map(|end| given(&end.global_ipv6_address)))?;
    Some(url(&own, &port))
}

/// The address of this host by which a published port is asked.
fn listens_at(binding: &PortBinding) -> String {
    let ip = binding.host_ip.as_deref().unwrap_or_default().trim_matches(['[', ']']);
    match ip.parse() {
        Ok(IpAddr::V4(ip)) if ip.is_unspecified() => "127.0.0.1".to_owned(),
        Ok(IpAddr::V6(ip)) if ip.is_unspecified() => "::1".to_owned(),
        Ok(ip) => ip.to_string(),
        Err(_) if ip.is_empty() => "127.0.0.1".to_owned(),
        Err(_) => ip.to_owned(),
    }
}

fn url(ip: &str, port: &str) -> String {
    if ip.contains(':') { format!("http://[{ip}]:{port}") } else { format!("http://{ip}:{port}") }
}

/// What it starts: the daemon has the image's own command filled in.
pub(super) fn started_by(config: &ContainerConfig) -> CommandView {
    let (entrypoint, command) = (config.entrypoint.clone(), config.cmd.clone());
    CommandView::new(Some(entrypoint.unwrap_or_default()), command, None)
}

pub(super) fn own_key(seen: &ContainerInspectResponse) -> Option<ApiKey> {
    let config = seen.config.as_ref()?;
    let variable = |name: &str| {
        let mut pairs = config.env.iter().flatten().filter_map(|pair| pair.split_once('='));
        pairs.find(|(own, _)| *own == name).map(|(_, value)| value.to_owned())
    };
    let view = started_by(config);
    view.value("api-key")
        .or_else(|| variable(&view.variable("api-key")?))
        .or_else(|| variable("VLLM_API_KEY"))
        .filter(|key| !key.is_empty())
        .map(ApiKey::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_asked_by_ipv4_where_it_can_be_and_an_address_of_ipv6_has_brackets() {
        let seen = |network: serde_json::Value| {
            let seen = serde_json::json!({
                "Config": {"Cmd": ["m"], "Entrypoint": ["vllm", "serve"]},
                "NetworkSettings": network,
            });
            serde_json::from_value::<ContainerInspectResponse>(seen).expect("an answer")
        };
        let published = |ips: &[&str]| {
            let binding = |(index, ip): (usize, &&str)| serde_json::json!({"HostIp": ip, "HostPort": (9000 + index).to_string()});
            let bindings: Vec<_> = ips.iter().enumerate().map(binding).collect();
            address(&seen(serde_json::json!({"Ports": {"8000/tcp": bindings}})))
        };
        for (ips, expected) in [
            (&["127.0.0.1"][..], "http://127.0.0.1:9000"),
            (&["0.0.0.0", "::"], "http://127.0.0.1:9000"),
            (&["::", "0.0.0.0"], "http://127.0.0.1:9001"),
            (&["", "::"], "http://127.0.0.1:9000"),
            (&["::1"], "http://[::1]:9000"),
            (&["::"], "http://[::1]:9000"),
            (&["fd00::2", "10.0.0.7"], "http://10.0.0.7:9001"),
            (&["2001:db8::5"], "http://[2001:db8::5]:9000"),
        ] {
            assert_eq!(published(ips).as_deref(), Some(expected), "{ips:?}");
        }
        let own =
            |end: serde_json::Value| address(&seen(serde_json::json!({"Networks": {"shop": end}})));
        let both = serde_json::json!({"IPAddress": "172.18.0.2", "GlobalIPv6Address": "fd00::2"});
        assert_eq!(own(both).as_deref(), Some("http://172.18.0.2:8000"));
        let six = serde_json::json!({"IPAddress": "", "GlobalIPv6Address": "fd00::2"});
        assert_eq!(own(six).as_deref(), Some("http://[fd00::2]:8000"));
        let none = serde_json::json!({"IPAddress": "", "GlobalIPv6Address": ""});
        assert_eq!(own(none), None);
    }
}
