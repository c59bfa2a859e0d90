//! The driver with a real Podman; the programs of the desktop are scripts that only wait.

mod podman;

use super::*;
use crate::io::driver::tests::{Ground, conforms, desk, order};
use podman::Podman;

#[tokio::test]
async fn it_behaves_like_a_driver() {
    conforms(&Podman::start().await).await;
}

#[tokio::test]
async fn a_desktop_has_limits_and_no_privileges() {
    let podman = Podman::start().await;
    podman.driver().start(order(1)).await.unwrap();
    let name = podman.name(&desk());
    let limits = podman.run(&[
        "inspect",
        "--format={{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}",
        &name,
    ]);
    assert_eq!(limits.trim(), format!("{} 1024", 4_u64 << 30));
    let inside = ["exec", &name, "sh", "-c"];
    let status = podman.run(
        &[
            &inside[..],
            &["cat /proc/1/status; echo kept > /home/desktop/file && cat /home/desktop/file"],
        ]
        .concat(),
    );
    for line in [
        "Uid:\t1000\t1000\t1000\t1000",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "\nkept",
    ] {
        assert!(status.contains(line), "{line} in {status}");
    }
}

#[tokio::test]
async fn the_credential_is_in_memory_and_its_user_s_alone() {
    let podman = Podman::start().await;
    podman.driver().start(order(1)).await.unwrap();
    let name = podman.name(&desk());
    let look = "cd /tmp/multiclaw; until [ -s agent-host.toml ]; do sleep 0.1; done; \
                stat -c '%a %u' credential agent-host.toml; cat credential; df . | tail -n 1; \
                cat /proc/*/environ | tr '\\0' '\\n'";
    let seen = podman.run(&["exec", &name, "sh", "-c", look]);
    assert!(seen.starts_with("600 1000\n600 1000\ncredential"), "{seen}");
    assert!(seen.contains("tmpfs"), "{seen}");
    // Nor do the programs beside it inherit it.
    let known = podman.run(&["inspect", &name]);
    assert!(!known.contains("MULTICLAW_CREDENTIAL"), "{known}");
}

#[tokio::test]
async fn a_desktop_outlives_the_engine_s_service() {
    let mut podman = Podman::start().await;
    podman.driver().start(order(1)).await.unwrap();
    podman.restart().await;
    let found = podman.driver().inspect(&desk()).await.unwrap();
    assert_eq!(found, Machine::Up(order(1).generation));
    assert_eq!(podman.displays(&desk()), 1);
}

#[tokio::test]
async fn an_engine_that_comes_back_is_used_again() {
    let mut podman = Podman::start().await;
    let driver = podman.driver();
    driver.start(order(1)).await.unwrap();
    podman.stop();
    driver.inspect(&desk()).await.unwrap_err();
    podman.restart().await;
    let found = driver.inspect(&desk()).await.unwrap();
    assert_eq!(found, Machine::Up(order(1).generation));
}

#[tokio::test]
async fn desktops_of_another_service_are_left_alone() {
    let podman = Podman::start().await;
    podman.driver().start(order(1)).await.unwrap();
    let other = ContainerConfig {
        service: "other".into(),
        ..podman.config()
    };
    let other = Containers::new(other, String::new());
    assert_eq!(other.inspect(&desk()).await.unwrap(), Machine::Absent);
    other.start(order(7)).await.unwrap();
    podman.driver().end_strangers(&[]).await.unwrap();
    assert_eq!(podman.displays(&desk()), 0);
    let found = other.inspect(&desk()).await.unwrap();
    assert_eq!(found, Machine::Up(order(7).generation));
}

#[tokio::test]
async fn a_program_that_just_becomes_another_is_there() {
    let podman = Podman::start().await;
    let driver = podman.driver();
    driver.start(order(1)).await.unwrap();
    let name = podman.name(&desk());
    let script = "echo 'exec sh /tmp/again and again' >/tmp/again; exec sh /tmp/again and again";
    let command = ["sh", "-c", script].map(str::to_owned).into();
    driver
        .engine
        .run_inside(&name, command, vec![])
        .await
        .unwrap();
    let seen = async || {
        driver
            .engine
            .runs_inside(&name, "/tmp/again and again")
            .await
    };
    while !seen().await.unwrap() {}
    for look in 0..50 {
        assert!(seen().await.unwrap(), "look {look}");
    }
}

#[tokio::test]
async fn what_its_programs_say_is_its_log() {
    let podman = Podman::start().await;
    let driver = podman.driver();
    assert_eq!(driver.log(&desk()).await.unwrap(), "");
    driver.start(order(1)).await.unwrap();
    let mut log = String::new();
    while !(log.contains("a display") && log.contains("an agent host")) {
        log = driver.log(&desk()).await.unwrap();
    }
}

#[tokio::test]
async fn an_image_and_an_engine_that_are_not_there_are_named() {
    let podman = Podman::start().await;
    let config = ContainerConfig {
        image: "localhost/nowhere".into(),
        ..podman.config()
    };
    let error = Containers::new(config, String::new()).start(order(1)).await;
    let said = format!("{:#}", error.unwrap_err());
    assert!(
        said.contains("no image localhost/nowhere; import"),
        "{said}"
    );

    let config = ContainerConfig {
        socket: "/nowhere/podman.sock".into(),
        ..podman.config()
    };
    let error = Containers::new(config, String::new())
        .inspect(&desk())
        .await;
    let said = format!("{:#}", error.unwrap_err());
    assert!(
        said.contains("/nowhere/podman.sock does not answer"),
        "{said}"
    );
}
