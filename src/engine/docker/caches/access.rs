//! Which cache volumes the container's user can write, where that is not root. Docker gives
//! a new volume the owner of the image's folder at its place; where the image has no such
//! folder it belongs to root, and the server fails when it writes. So the image's folders are
//! looked at, in a container that is made for it and never started.

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::DownloadFromContainerOptionsBuilder;
use futures_util::StreamExt as _;
use tokio::time::timeout;

use super::super::container::Container;
use super::super::image::ImageIdentity;
use super::super::naming::aside_labels;
use super::super::patience::{ACTION, Daemon};
use super::{Caches, Lacking};
use crate::engine::compose::ServiceSpec;

/// A block of a tar archive: the header of an entry, or a part of its contents.
const BLOCK: usize = 512;
/// Longest list of users that is read.
const MAX_USERS: usize = 1 << 20;

/// The user that the container runs as, where that is not root: the service's, else the
/// image's.
pub(super) fn user_of(service: &ServiceSpec, image: &ImageIdentity) -> Option<String> {
    let of_service = service.user.as_deref().filter(|user| !user.is_empty());
    let user = of_service.unwrap_or(&image.user);
    let name = user.split(':').next().unwrap_or_default();
    (!["", "0", "root"].contains(&name)).then(|| user.to_owned())
}

/// Those that this user can write; why others are left out is said.
pub(super) async fn of_user(
    docker: &Daemon,
    service: &ServiceSpec,
    image: &ImageIdentity,
    user: &str,
) -> Caches {
    match Folders::open(docker, image).await {
        Ok(mut folders) => {
            let caches = folders.caches(service, image, user).await;
            folders.close().await;
            caches
        }
        Err(why) => left_out(Caches::at_home(service, image, "/root"), user, &why),
    }
}

/// None of them, for this reason.
fn left_out(caches: Caches, user: &str, why: &str) -> Caches {
    let targets: Vec<&str> = caches.lacking.iter().map(|it| &*it.target).collect();
    let text =
        format!("the container's user {user} cannot be looked up ({why}): {}", none_at(&targets));
    let is_needed = !targets.is_empty();
    Caches { left_out: is_needed.then_some(text), lacking: Vec::new(), ..caches }
}

fn none_at(targets: &[&str]) -> String {
    format!(
        "no cache volume of ours at {}, so that each launch does again what it would keep; mount \
         a volume or folder there that this user can write",
        targets.join(", ")
    )
}

/// The user of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
struct User {
    uid: u64,
    gid: u64,
    home: String,
}

impl User {
    /// `user` as a service has it, `passwd` as the image has it. A group by its name is not
    /// looked up: the user's own counts.
    fn read(user: &str, passwd: &str) -> Option<Self> {
        let (name, group) = user.split_once(':').unwrap_or((user, ""));
        let known = passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [login, _, uid, gid, _, home, ..] = fields[..] else { return None };
            let is_it = login == name || uid == name;
            is_it.then(|| Some((uid.parse().ok()?, gid.parse().ok()?, home.to_owned())))?
        });
        // A number that the image does not know has Docker's defaults.
        let (uid, gid, home) = known.or_else(|| Some((name.parse().ok()?, 0, "/".to_owned())))?;
        Some(Self { uid, gid: group.parse().unwrap_or(gid), home })
    }
}

/// A folder of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Folder {
    mode: u64,
    uid: u64,
    gid: u64,
}

impl Folder {
    /// From the header of a tar entry; `None` where it is no folder.
    fn read(header: &[u8]) -> Option<Self> {
        let octal = |range: std::ops::Range<usize>| {
            let text = std::str::from_utf8(header.get(range)?).ok()?;
            u64::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
        };
        (header.get(156) == Some(&b'5')).then_some(())?;
        Some(Self { mode: octal(100..108)?, uid: octal(108..116)?, gid: octal(116..124)? })
    }

    /// Whether this user can make files in it.
    fn lets_write(self, user: &User) -> bool {
        let needed = if self.uid == user.uid {
            0o300
        } else if self.gid == user.gid {
            0o030
        } else {
            0o003
        };
        self.mode & needed == needed
    }
}

/// The folders of an image, as long as it is looked at.
struct Folders {
    docker: Daemon,
    container: Container,
}

impl Folders {
    async fn open(docker: &Daemon, image: &ImageIdentity) -> Result<Self, String> {
        let body = ContainerCreateBody {
            image: Some(image.id.clone()),
            entrypoint: Some(vec!["true".to_owned()]),
            labels: Some(aside_labels("cache-folders").into_iter().collect()),
            host_config: Some(HostConfig {
                network_mode: Some("none".to_owned()),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let name = format!("vllm-grid-folders-{:x}", std::process::id());
        let container = Container::create(docker, &name, body).await.map_err(|it| it.message)?;
        Ok(Self { docker: docker.clone(), container })
    }

    async fn close(mut self) {
        if let Err(left) = self.container.stop_and_remove(0).await {
            tracing::warn!(error = left.message, "a container that showed an image's folders");
        }
    }

    /// The beginning of the archive of a path; `None` where there is no such path.
    async fn archive(&self, path: &str, most: usize) -> Option<Vec<u8>> {
        let options = DownloadFromContainerOptionsBuilder::new().path(path).build();
        let id = self.container.id();
        let mut stream = Box::pin(self.docker.download_from_container(id, Some(options)));
        let mut bytes = Vec::new();
        let reading = async {
            while bytes.len() < most {
                match stream.next().await {
                    Some(Ok(more)) => bytes.extend_from_slice(&more),
                    Some(Err(_)) | None => break,
                }
            }
        };
        timeout(ACTION, reading).await.ok()?;
        (bytes.len() >= BLOCK).then_some(bytes)
    }

    async fn folder(&self, path: &str) -> Option<Folder> {
        Folder::read(self.archive(path, BLOCK).await?.get(..BLOCK)?)
    }

    async fn caches(&mut self, service: &ServiceSpec, image: &ImageIdentity, user: &str) -> Caches {
        let users = self.archive("/etc/passwd", MAX_USERS).await.unwrap_or_default();
        let users = String::from_utf8_lossy(users.get(BLOCK..).unwrap_or_default()).into_owned();
        let Some(known) = User::read(user, &users) else {
            let caches = Caches::at_home(service, image, "/root");
            return left_out(caches, user, "the image knows no such user");
        };
        let caches = Caches::at_home(service, image, &known.home);
        let mut folders = Vec::new();
        for cache in &caches.lacking {
            folders.push(self.folder(&cache.target).await);
        }
        chosen(caches, &folders, user, &known)
    }
}

/// Those whose folders in the image this user can write.
fn chosen(caches: Caches, folders: &[Option<Folder>], user: &str, known: &User) -> Caches {
    let pairs = caches.lacking.into_iter().zip(folders);
    let (good, bad): (Vec<_>, Vec<_>) =
        pairs.partition(|(_, folder)| folder.is_some_and(|folder| folder.lets_write(known)));
    let targets: Vec<&str> = bad.iter().map(|(cache, _)| &*cache.target).collect();
    let why = if bad.iter().any(|(_, folder)| folder.is_none()) {
        "the image has no such folder, and a volume would belong to root"
    } else {
        "the image's folder belongs to somebody else"
    };
    let text =
        format!("user {user} of the container could not write them ({why}): {}", none_at(&targets));
    let left_out = (!targets.is_empty()).then_some(text);
    let lacking: Vec<Lacking> = good.into_iter().map(|(cache, _)| cache).collect();
    Caches { lacking, user: Some(known.uid), left_out, ..caches }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{image, spec};
    use super::*;

    const USERS: &str =
        "root:x:0:0:root:/root:/bin/sh\nvllm:x:2000:2001:,:/home/vllm:/bin/sh\nodd\n";

    /// The header that Docker sends of a folder.
    fn header(mode: &str, uid: u64, gid: u64, kind: u8) -> Vec<u8> {
        let mut header = vec![0; BLOCK];
        header[..5].copy_from_slice(b"vllm/");
        header[100..107].copy_from_slice(mode.as_bytes());
        header[108..115].copy_from_slice(format!("{uid:07o}").as_bytes());
        header[116..123].copy_from_slice(format!("{gid:07o}").as_bytes());
        header[156] = kind;
        header
    }

    #[test]
    fn who_runs_in_the_container_is_the_services_or_the_images() {
        let of = |service: Option<&str>, own: &str| {
            let service = ServiceSpec { user: service.map(str::to_owned), ..spec(&[], &[]) };
            user_of(&service, &ImageIdentity { user: own.to_owned(), ..image(&[]) })
        };
        for root in ["", "0", "root", "0:0", "root:root", "0:1000"] {
            assert_eq!(of(Some(root), ""), None, "{root}");
            assert_eq!(of(None, root), None, "{root}");
        }
        assert_eq!(of(None, "vllm").as_deref(), Some("vllm"));
        assert_eq!(of(Some("root"), "vllm"), None);
        assert_eq!(of(Some("1000:1000"), "vllm").as_deref(), Some("1000:1000"));
    }

    #[test]
    fn a_user_is_found_by_name_and_number() {
        let of = |user: &str| User::read(user, USERS).map(|it| (it.uid, it.gid, it.home));
        let known = |gid| Some((2000, gid, "/home/vllm".to_owned()));
        assert_eq!((of("vllm"), of("2000"), of("vllm:7")), (known(2001), known(2001), known(7)));
        assert_eq!(of("1234"), Some((1234, 0, "/".to_owned())), "the image does not know it");
        assert_eq!((of("stranger"), User::read("vllm", "")), (None, None));
    }

    #[test]
    fn a_folder_is_read_from_the_archive_of_it() {
        let folder = Folder::read(&header("0040755", 2000, 2001, b'5')).expect("a folder");
        assert_eq!(folder, Folder { mode: 0o040_755, uid: 2000, gid: 2001 });
        assert_eq!(Folder::read(&header("0000644", 2000, 2001, b'0')), None, "a file");
        assert_eq!(Folder::read(&header("0000777", 2000, 2001, b'2')), None, "a link");
        assert_eq!(Folder::read(&header("no mode", 2000, 2001, b'5')), None);
        assert_eq!(Folder::read(b"short"), None);
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "needs Docker"]
    async fn the_folders_of_a_real_image_are_looked_at() {
        use super::super::super::daemon::{DaemonSettings, connect};
        let docker = connect(&DaemonSettings::of_environment()).await.expect("a daemon");
        let name = super::super::super::tests::image();
        let image = super::super::super::identity(&docker, name).await.expect("it is there");
        let folders = Folders::open(&docker, &image).await.expect("made");
        assert_eq!(folders.folder("/").await.map(|folder| folder.uid), Some(0));
        assert_eq!(folders.folder("/no/such/folder").await, None);
        folders.close().await;
        let caches = of_user(&docker, &spec(&[], &[]), &image, "1234").await;
        assert_eq!(caches.volumes(None), [], "no such home");
        assert!(caches.left_out.expect("said").contains("user 1234"));
    }

    #[test]
    fn only_folders_that_the_user_can_write_get_a_volume_and_the_rest_is_said() {
        let known = User::read("vllm", USERS).expect("known");
        let folder = |mode, uid, gid| Some(Folder { mode, uid, gid });
        let folders =
            [folder(0o755, 2000, 2001), None, folder(0o755, 0, 0), folder(0o775, 0, 2001)];
        let all = Caches::at_home(&spec(&[], &[]), &image(&[]), &known.home);
        let caches = chosen(all.clone(), &folders, "vllm", &known);
        let volumes: Vec<_> = caches.volumes(Some("k")).into_iter().map(|it| it.volume).collect();
        // A volume that root made is not this user's.
        let expected = ["vllm-grid-huggingface-u2000", "vllm-grid-flashinfer-0123456789ab-u2000"];
        assert_eq!(volumes, expected);
        let said = caches.left_out.expect("two are none");
        for part in ["user vllm", "/home/vllm/.cache/vllm, /home/vllm/.triton", "no such folder"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let everyones = [folder(0o777, 0, 0); 4];
        assert_eq!(chosen(all, &everyones, "vllm", &known).left_out, None);
        let read_only = Folder { mode: 0o555, uid: 2000, gid: 0 };
        assert!(!read_only.lets_write(&known), "its own folder, and not to be written");
    }
}
