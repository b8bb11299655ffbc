//! Parses the configuration of web servers, to find out whether clients can write files without a login (WebDAV).
//!
//! Only a setting that lets everyone write is returned. If a restriction may apply, there is no setting.

mod apache;
mod lighttpd;
mod nginx;

pub(super) use apache::{APACHE_INCLUDE, apache};
pub(super) use lighttpd::{LIGHTTPD_INCLUDE, lighttpd};
pub(super) use nginx::{NGINX_INCLUDE, nginx};

use crate::model::{AccessSetting, AdmittedClients};

/// The maximum number of settings. Real servers have one or two.
const MOST_SETTINGS: usize = 64;

fn anyone(port: Option<u16>, setting: String) -> AccessSetting {
    AccessSetting { port, setting, clients: AdmittedClients::Anyone }
}

fn directory(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(directory, _)| directory)
}
