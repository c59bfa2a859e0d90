//! `cargo xtask bundle`: the modules and stylesheets of the viewer's page, each as one file, for a
//! browser that is to show a desktop at once. The result is committed: a build needs no Node.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::repository;
use crate::run;
use crate::test::npm_packages;

/// A second's work; a slow machine starts Node in a few.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn run() -> Result<()> {
    npm_packages()?;
    let mut command = Command::new("node");
    command
        .arg("tests/web/bundle.mjs")
        .current_dir(repository::root());
    run::quiet(command, LIMIT).map(drop)
}
