//! Sign-ins of devices, and the proofs of their keys that were used: at every node each counts once.

use std::time::Duration;

use anyhow::Result;
use sqlx::Row;

use super::desktops::Limited;
use super::identity::{SIGN_IN, ids, sign_in};
use super::{Kind, Store, seconds};
use crate::identity::WorkspaceId;
use crate::identity::device::{DEVICES_MAX, Device, IDLE_MAX, MISUSE_EVERY};
use crate::identity::sign_in::{AGE_MAX, SignIn};

impl Store {
    /// Signs a device in, unless its account has as many as it may have. The same key takes its own
    /// place again.
    pub(crate) async fn start_device(
        &self,
        sign_in: &SignIn,
        device: &Device,
        unix_now: Duration,
    ) -> Result<Limited> {
        let account = &sign_in.account;
        let mut transaction = self.begin_alone(&format!("devices {account}")).await?;
        let replaced = sqlx::query(
            "UPDATE sign_in SET ended_unix = $4 WHERE workspace = $1 AND account = $2 \
             AND device_key = $3 AND ended_unix IS NULL RETURNING id",
        )
        .bind(sign_in.workspace.as_str())
        .bind(account)
        .bind(device.key.as_bytes().as_slice())
        .bind(seconds(unix_now)?)
        .fetch_all(&mut *transaction)
        .await?;
        let others = sqlx::query(
            "SELECT count(*) AS others FROM sign_in WHERE account = $1 AND device_key IS NOT NULL \
             AND ended_unix IS NULL AND used_unix > $2 AND created_unix > $3",
        )
        .bind(account)
        .bind(seconds(unix_now.saturating_sub(IDLE_MAX))?)
        .bind(seconds(unix_now.saturating_sub(AGE_MAX))?)
        .fetch_one(&mut *transaction)
        .await?
        .try_get::<i64, _>("others")?;
        if others >= i64::from(DEVICES_MAX) {
            return Ok(Limited::Full);
        }
        sqlx::query(
            "INSERT INTO sign_in (id, workspace, account, handle_hash, created_unix, used_unix, \
             client, device_name, device_key) VALUES ($1, $2, $3, $4, $5, $5, $6, $7, $8)",
        )
        .bind(&sign_in.id)
        .bind(sign_in.workspace.as_str())
        .bind(account)
        .bind(sign_in.handle_hash.as_slice())
        .bind(i64::try_from(sign_in.created_unix)?)
        .bind(&sign_in.client)
        .bind(device.name.as_str())
        .bind(device.key.as_bytes().as_slice())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        self.remember(Kind::SignIn, ids(&replaced)?).await;
        Ok(Limited::Done)
    }

    /// The device of this id in a workspace, whoever's it is; it may have ended.
    pub(crate) async fn find_device(
        &self,
        workspace: &WorkspaceId,
        id: &str,
    ) -> Result<Option<SignIn>> {
        let query =
            format!("{SIGN_IN} s.workspace = $1 AND s.id = $2 AND s.device_key IS NOT NULL");
        sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(workspace.as_str())
            .bind(id)
            .fetch_optional(&self.pool)
            .await?
            .map(|row| sign_in(&row))
            .transpose()
    }

    /// `false` if this proof was used before, here or at another node.
    pub(crate) async fn spend_proof(
        &self,
        fingerprint: &[u8; 32],
        expires: Duration,
    ) -> Result<bool> {
        let spent = sqlx::query(
            "INSERT INTO device_proof (fingerprint, expires_unix) VALUES ($1, $2) \
             ON CONFLICT (fingerprint) DO NOTHING",
        )
        .bind(fingerprint.as_slice())
        .bind(seconds(expires)?)
        .execute(&self.pool)
        .await?;
        Ok(spent.rows_affected() == 1)
    }

    /// `false` if that was noted of this device a short time ago.
    pub(crate) async fn note_misuse(&self, id: &str, unix_now: Duration) -> Result<bool> {
        let noted = sqlx::query(
            "UPDATE sign_in SET misused_unix = $2 WHERE id = $1 \
             AND (misused_unix IS NULL OR misused_unix < $3)",
        )
        .bind(id)
        .bind(seconds(unix_now)?)
        .bind(seconds(unix_now.saturating_sub(MISUSE_EVERY))?)
        .execute(&self.pool)
        .await?;
        Ok(noted.rows_affected() == 1)
    }
}

#[cfg(test)]
mod tests {
    use protocol::proof::Thumbprint;

    use super::*;
    use crate::identity::device::DeviceName;
    use crate::identity::{Email, MemberRole};
    use crate::io::store::tests::Folder;

    const NOW: Duration = Duration::from_secs(1_800_000_000);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    struct House {
        store: Store,
        account: String,
        _folder: Folder,
    }

    impl House {
        async fn new() -> Self {
            let folder = Folder::new();
            let store = folder.open().await;
            let email = Email::parse("ada@example.org").unwrap();
            let account = store.ensure_account(&email, None, NOW).await.unwrap().id;
            let home = WorkspaceId::only();
            let added = store.add_member(&home, &account, MemberRole::Member, NOW);
            added.await.unwrap();
            Self {
                store,
                account,
                _folder: folder,
            }
        }

        /// Each by its key; the same number is the same key.
        async fn start(&self, number: u8, attempt: u8, at: Duration) -> Limited {
            let device = Device {
                name: DeviceName::parse("laptop").unwrap(),
                key: Thumbprint::from_bytes([number; 32]),
            };
            let sign_in = SignIn {
                id: format!("{number}-{attempt}"),
                workspace: WorkspaceId::only(),
                account: self.account.clone(),
                email: Email::parse("ada@example.org").unwrap(),
                role: MemberRole::Member,
                handle_hash: [number, attempt].repeat(16).try_into().unwrap(),
                previous: None,
                created_unix: at.as_secs(),
                used_unix: at.as_secs(),
                ended: false,
                client: "a test".into(),
                device: Some(device.clone()),
            };
            let started = self.store.start_device(&sign_in, &device, at).await;
            started.unwrap()
        }

        async fn listed(&self) -> Vec<String> {
            let home = WorkspaceId::only();
            let listed = self.store.list_sign_ins(&home, &self.account).await;
            listed.unwrap().into_iter().map(|one| one.id).collect()
        }
    }

    #[tokio::test]
    async fn an_account_has_so_many_devices_and_no_more_however_they_come() {
        let house = House::new().await;
        let starts = (0..30).map(|number| house.start(number, 0, NOW));
        let started = futures_util::future::join_all(starts).await;
        let done = started.iter().filter(|one| **one == Limited::Done).count();
        assert_eq!(done, usize::try_from(DEVICES_MAX).unwrap());
        assert_eq!(house.listed().await.len(), done);
        // The same key takes its own place again.
        let first: u8 = house.listed().await[0]
            .split('-')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(house.start(first, 1, NOW).await, Limited::Done);
        assert_eq!(house.listed().await.len(), done);
        assert!(house.listed().await.contains(&format!("{first}-1")));
        // And those that nobody used for long take none.
        let later = NOW + IDLE_MAX;
        assert_eq!(house.start(99, 0, later).await, Limited::Done);
    }

    #[tokio::test]
    async fn a_device_comes_back_with_its_name_and_key_and_a_browser_with_none() {
        let house = House::new().await;
        house.start(7, 0, NOW).await;
        let home = WorkspaceId::only();
        let found = house
            .store
            .find_device(&home, "7-0")
            .await
            .unwrap()
            .unwrap();
        assert_eq!(found.key(), Some(Thumbprint::from_bytes([7; 32])));
        assert_eq!(found.device.unwrap().name.as_str(), "laptop");
        let browser = SignIn {
            id: "browser".into(),
            handle_hash: [1; 32],
            device: None,
            ..house
                .store
                .find_device(&home, "7-0")
                .await
                .unwrap()
                .unwrap()
        };
        house.store.start_sign_in(&browser, &[2; 32]).await.unwrap();
        let found = house.store.find_sign_in(&[1; 32]).await.unwrap();
        assert_eq!(found, Some(browser));
        let none = house.store.find_device(&home, "browser").await.unwrap();
        assert_eq!(none, None);
        let elsewhere = WorkspaceId::parse("acme").unwrap();
        let none = house.store.find_device(&elsewhere, "7-0").await.unwrap();
        assert_eq!(none, None);
    }

    #[tokio::test]
    async fn of_one_proof_at_several_nodes_at_once_one_is_taken() {
        let folder = Folder::new();
        let nodes = [folder.open().await, folder.open().await];
        let tries = (0..20).map(|number| nodes[number % 2].spend_proof(&[5; 32], NOW));
        let taken = futures_util::future::join_all(tries).await;
        let taken = taken.into_iter().filter(|taken| *taken.as_ref().unwrap());
        assert_eq!(taken.count(), 1);
        assert!(nodes[0].spend_proof(&[6; 32], NOW).await.unwrap());
    }

    #[tokio::test]
    async fn a_misuse_is_noted_once_an_hour() {
        let house = House::new().await;
        house.start(1, 0, NOW).await;
        let mut noted = 0;
        for minute in 0..120 {
            let at = NOW + Duration::from_secs(60) * minute;
            noted += u32::from(house.store.note_misuse("1-0", at).await.unwrap());
        }
        assert_eq!(noted, 2);
    }

    #[tokio::test]
    async fn proofs_are_forgotten_when_they_have_expired_and_devices_after_two_months() {
        let house = House::new().await;
        house.start(1, 0, NOW).await;
        for number in 0..10 {
            let expires = NOW + Duration::from_secs(60) * u32::from(number);
            house
                .store
                .spend_proof(&[number; 32], expires)
                .await
                .unwrap();
        }
        let at = NOW + Duration::from_secs(60) * 5;
        assert_eq!(house.store.prune(DAY, at).await.unwrap(), 5);
        // A browser's sign-in would be gone by then.
        let rested = NOW + DAY * 59;
        assert_eq!(house.store.prune(DAY, rested).await.unwrap(), 5);
        assert_eq!(house.store.prune(DAY, NOW + DAY * 61).await.unwrap(), 1);
    }
}
