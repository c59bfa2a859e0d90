//! The subcommands, which work on the database directly and print JSON. A running service notices
//! within seconds.

use anyhow::{Context, Result, bail};
use protocol::signal::Role;
use serde_json::json;
use signalling::InstanceRecord;
use signalling::instances::hash;
use signalling::io::unix_now;

use super::args::{
    AccessCommand, Command, InstanceCommand, MemberCommand, MemberRoleName, RoleName,
};
use super::pepper_file;
use super::store::Store;
use crate::access::{AccessKey, AccessRecord, secret_from};
use crate::config::Config;
use crate::identity::{Email, MemberRole, WorkspaceId, password};

pub(super) async fn execute(command: &Command, config: &Config) -> Result<()> {
    let store = Store::open(config.database.expose()).await?;
    let store = store.remembering(&config.state);
    let answer = match command {
        Command::Instance(command) => instance(command, config, &store).await?,
        Command::Access(command) => access(command, config, &store).await?,
        Command::Member(command) => member(command, config, &store).await?,
        Command::Openapi | Command::Completions { .. } => return Ok(()),
    };
    println!("{answer}");
    Ok(())
}

async fn instance(
    command: &InstanceCommand,
    config: &Config,
    store: &Store,
) -> Result<serde_json::Value> {
    match command {
        InstanceCommand::Create { id, region } => {
            if !config.regions.iter().any(|known| known.id == *region) {
                bail!(
                    "there is no region `{region}`; add a [[region]] with this id to the configuration"
                );
            }
            let credential = secret_from(rand::random());
            let record = InstanceRecord {
                instance: id.clone(),
                region: region.clone(),
                credential_hash: hash(&credential),
            };
            store.create_instance(&record, unix_now()).await?;
            Ok(json!({ "instance": id, "credential": credential }))
        }
        InstanceCommand::List => Ok(json!(
            store
                .list_instances()
                .await?
                .into_iter()
                .map(|record| json!({ "instance": record.instance, "region": record.region }))
                .collect::<Vec<_>>()
        )),
        InstanceCommand::Delete { id } => {
            store.delete_instance(id, unix_now()).await?;
            Ok(json!({ "instance": id, "deleted": true }))
        }
    }
}

async fn access(
    command: &AccessCommand,
    config: &Config,
    store: &Store,
) -> Result<serde_json::Value> {
    match command {
        AccessCommand::Create {
            instance,
            role,
            ttl_secs,
        } => {
            if store.find_instance(instance).await?.is_none() {
                bail!("there is no instance `{instance}`; create it with `instance create`");
            }
            let key = AccessKey::from_random(rand::random(), rand::random());
            let record = AccessRecord {
                id: key.id.clone(),
                instance: instance.clone(),
                role: role.role(),
                key_hash: key.hash(),
                expires_unix: ttl_secs.map(|ttl| unix_now().as_secs().saturating_add(ttl)),
                revoked: false,
            };
            store.create_access(&record, unix_now()).await?;
            let base = config
                .public_url
                .clone()
                .unwrap_or_else(|| format!("http://{}", config.listen));
            let text = key.to_text();
            let url = format!(
                "{}/connect/{instance}#key={}",
                base.trim_end_matches('/'),
                text.expose()
            );
            Ok(json!({ "id": key.id, "key": text, "url": url }))
        }
        AccessCommand::List { instance } => Ok(json!(
            store
                .list_access(instance.as_ref())
                .await
                .context("cannot list the access keys")?
                .into_iter()
                .map(|record| json!({
                    "id": record.id,
                    "instance": record.instance,
                    "role": record.role,
                    "expires_unix": record.expires_unix,
                    "revoked": record.revoked,
                }))
                .collect::<Vec<_>>()
        )),
        AccessCommand::Revoke { id } => {
            store.revoke_access(id, unix_now()).await?;
            Ok(json!({ "id": id, "revoked": true }))
        }
    }
}

/// The first person of a workspace has nobody to invite them.
async fn member(
    command: &MemberCommand,
    config: &Config,
    store: &Store,
) -> Result<serde_json::Value> {
    let MemberCommand::Create {
        email,
        workspace,
        role,
    } = command;
    let email = Email::parse(email).context("this is no email address; check --email")?;
    let workspace = WorkspaceId::parse(workspace)
        .context("a workspace is letters, digits and hyphens; check --workspace")?;
    let role = match role {
        MemberRoleName::Owner => MemberRole::Owner,
        MemberRoleName::Admin => MemberRole::Admin,
        MemberRoleName::Member => MemberRole::Member,
    };
    let secret = secret_from(rand::random());
    let peppers = pepper_file::read(&config.identity)?;
    let mut memory = password::Memory::default();
    let stored = password::hash(&secret, rand::random(), &peppers, &mut memory)
        .context("the password was not hashed")?;
    let account = store.ensure_account(&email, None, unix_now()).await?;
    store.set_password(&account.id, &stored).await?;
    store.confirm_account(&account.id, unix_now()).await?;
    store.end_sign_ins(&account.id, None, unix_now()).await?;
    store
        .add_member(&workspace, &account.id, role, unix_now())
        .await?;
    if !store.set_role(&workspace, &account.id, role).await? {
        bail!("the workspace would be without an owner; make another member an owner first");
    }
    store
        .audit(
            &workspace,
            "command line",
            "made a member",
            email.as_str(),
            unix_now(),
        )
        .await?;
    Ok(json!({ "email": email, "workspace": workspace.as_str(), "password": secret }))
}

impl RoleName {
    fn role(self) -> Role {
        match self {
            Self::Control => Role::Control,
            Self::View => Role::View,
        }
    }
}
