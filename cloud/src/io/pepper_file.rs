//! The file of peppers: read once at the start, and by whoever runs the service alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::config::{ConfigError, IdentityConfig};
use crate::identity::password::Peppers;

/// None at all without `identity.pepper_file`.
///
/// # Errors
///
/// [`ConfigError`], which names the file: without its peppers nobody could sign in.
pub(super) fn read(config: &IdentityConfig) -> Result<Peppers, ConfigError> {
    let Some(path) = &config.pepper_file else {
        return Ok(Peppers::default());
    };
    let shown = path.display();
    let refuse = |text: String| ConfigError(format!("`identity.pepper_file`: {text}"));
    let unreadable = |error| {
        refuse(format!(
            "cannot read {shown}: {error}; put the file back, for without it whoever has a password cannot sign in"
        ))
    };
    let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode();
    if mode & 0o077 != 0 {
        let advice = format!("others may read {shown}; run `chmod 600 {shown}`");
        return Err(refuse(advice));
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    Peppers::parse(&text).map_err(|error| refuse(format!("{shown}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_others_read_or_that_holds_nothing_is_refused_by_name() {
        let name = format!("multiclaw-pepper-{}", uuid::Uuid::new_v4());
        let path = std::env::temp_dir().join(name);
        let config = IdentityConfig {
            pepper_file: Some(path.clone()),
            ..IdentityConfig::default()
        };
        let said = || read(&config).unwrap_err().to_string();
        assert!(said().contains("cannot read"), "{}", said());
        assert!(said().contains("put the file back"), "{}", said());
        fs::write(&path, "x".repeat(40)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(said().contains("chmod 600"), "{}", said());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(read(&config).is_ok());
        fs::write(&path, "short").unwrap();
        assert!(said().contains("line 1 has 5 bytes"), "{}", said());
        fs::remove_file(path).unwrap();
    }
}
