/** The dashboard in a real Chromium: every flow a person meets, each page checked with axe-core. */

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { after, before, test } from "node:test";
import { Device } from "./device.mjs";
import { House, Viewer, until } from "./house.mjs";
import { accessible, withPage as inPage } from "./page.mjs";

const PASSWORD = "four plain words here";

let house;
let browser;

const withPage = (path, body, context) => inPage(browser, new URL(path, house.dashboard_url).href, body, context);

before(async () => {
  house = await House.up("dashboard");
  browser = await Viewer.launch();
});
after(async () => {
  await browser?.close();
  await house?.down();
});

/** The link in the newest mail to an address. */
function mailedLink(to) {
  const folder = `${house.state}/cloud/mail/`;
  const mails = readdirSync(folder).filter((name) => name.endsWith(".eml")).sort().reverse();
  const texts = mails.map((name) => readFileSync(folder + name, "utf8"));
  const text = texts.find((text) => text.includes(`To: ${to}\r\n`));
  return /http\S+#token=\S+/.exec(text ?? "")?.[0];
}

/** By keyboard alone: the first field has the focus. */
async function signIn(page, { email, password } = house.admin) {
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  await page.keyboard.type(email);
  await page.keyboard.press("Tab");
  await page.keyboard.type(password);
  await page.keyboard.press("Enter");
}

async function room(page, name, heading) {
  await page.getByRole("link", { name, exact: true }).click();
  await page.getByRole("heading", { name: heading }).waitFor();
}

test("an owner signs in by keyboard, sees the desktop online and connects without a key", async () => {
  await withPage("/", async (page, viewer) => {
    await signIn(page);
    await page.getByText("Online").waitFor();
    await accessible(page);
    await viewer.shot("dashboard-desktops");
    await page.getByRole("link", { name: "Connect to desk" }).click();
    await page.waitForFunction(() => window.multiclaw?.state().phase === "live", null, { timeout: 30_000 });
    assert.ok(!page.url().includes("#"), page.url());
    const kept = await page.evaluate(() => JSON.stringify(sessionStorage) + document.cookie);
    assert.ok(!kept.includes("multiclaw-session"), "scripts cannot read the sign-in");
  });
});

test("a wrong password is said properly and tells nothing else", async () => {
  await withPage("/sign-in", async (page) => {
    await signIn(page, { email: "nobody@example.org", password: "wrong password" });
    const alert = page.getByRole("alert");
    await alert.waitFor();
    assert.equal(await alert.getAttribute("data-code"), "SIGN_IN_FAILED");
    await accessible(page);
  });
});

test("an account is created and confirmed by pressing the button, not by opening the link", async () => {
  await withPage("/sign-up", async (page) => {
    await accessible(page);
    await page.getByLabel("Email").fill("new@example.org");
    await page.getByLabel("Password").fill(PASSWORD);
    await page.getByRole("button", { name: "Sign up" }).click();
    await page.getByText("Check your mail").waitFor();
    const link = mailedLink("new@example.org");
    for (const _ of ["a scanner", "the person"]) {
      await page.goto("about:blank");
      await page.goto(link);
      await page.getByRole("button", { name: "Confirm" }).waitFor();
      assert.ok(!page.url().includes("token"), page.url());
    }
    await page.getByRole("button", { name: "Confirm" }).click();
    await page.getByText("Your address is confirmed").waitFor();
    await accessible(page);
  });
});

test("an invited member joins, resets the password, and is removed by the owner", async () => {
  await withPage("/", async (page, viewer) => {
    await signIn(page);
    await room(page, "Members", "Members");
    await page.getByLabel("Invite by email").fill("guest@example.org");
    await page.getByRole("button", { name: "Invite" }).click();
    await page.getByText("An invitation is on its way").waitFor();
    await withPage(mailedLink("guest@example.org"), async (guest) => {
      await accessible(guest);
      await guest.getByLabel("Choose a password").fill(PASSWORD);
      await guest.getByRole("button", { name: "Accept the invitation" }).click();
      await guest.getByText("Online").waitFor();
      assert.equal(await guest.getByRole("link", { name: "Audit" }).count(), 0);
      await guest.goto(new URL("/forgot", house.dashboard_url).href);
      await guest.getByLabel("Email").fill("guest@example.org");
      await guest.getByRole("button", { name: "Send the link" }).click();
      await guest.getByText("a link is on its way").waitFor();
      await until("the mail", () => mailedLink("guest@example.org")?.includes("/reset#"));
      await guest.goto(mailedLink("guest@example.org"));
      await guest.getByLabel("New password").fill(`${PASSWORD} too`);
      await guest.getByRole("button", { name: "Set password" }).click();
      await guest.getByText("Your password is changed").waitFor();
      await guest.getByRole("link", { name: "Sign in" }).click();
      await signIn(guest, { email: "guest@example.org", password: `${PASSWORD} too` });
      await guest.getByText("Online").waitFor();
      await room(page, "Members", "Members");
      await accessible(page);
      await viewer.shot("dashboard-members");
      await page.getByRole("button", { name: "Remove guest@example.org" }).click();
      await page.getByText("Remove: guest@example.org. Done.").waitFor({ state: "attached" });
      await guest.reload();
      await guest.getByRole("heading", { name: "Sign in" }).waitFor();
    });
  });
});

test("a sign-in is ended from another browser, and the audit log says so", async () => {
  await withPage("/", async (page, viewer) => {
    await signIn(page);
    await page.getByText("Online").waitFor();
    await withPage("/", async (other) => {
      await signIn(other);
      await other.getByText("Online").waitFor();
      await room(page, "Sessions", "Where you are signed in");
      await accessible(page);
      await viewer.shot("dashboard-sessions");
      await page.getByRole("button", { name: /^End/ }).first().click();
      await page.getByText("Done.").waitFor({ state: "attached" });
      await other.reload();
      await other.getByRole("heading", { name: "Sign in" }).waitFor();
    });
    await room(page, "Audit", "Audit log");
    await page.getByText("ended a sign-in").first().waitFor();
    await accessible(page);
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
  });
});

test("a device is seen and signed out in the dashboard, and a member's by the owner", async () => {
  const laptop = await Device.make(house.dashboard_url);
  const added = await laptop.signIn(house.admin, "Ada's laptop");
  assert.equal(added.token_type, "DPoP", JSON.stringify(added));
  assert.equal((await laptop.call("GET", "/me")).email, house.admin.email);
  assert.ok((await laptop.call("POST", "/instances/desk/tickets")).ticket, "it may connect");
  await withPage("/", async (page, viewer) => {
    await signIn(page);
    await room(page, "Sessions", "Where you are signed in");
    await page.getByText("Ada's laptop").waitFor();
    await page.getByText(`key ${added.thumbprint.slice(0, 12)}`).waitFor();
    await accessible(page);
    await viewer.shot("dashboard-devices");
    await page.getByRole("button", { name: "Sign out Ada's laptop" }).press("Enter");
    await page.getByText("Ada's laptop. Done.").waitFor({ state: "attached" });
    assert.equal(await page.getByRole("listitem").filter({ hasText: "laptop" }).count(), 0);
    assert.equal((await laptop.call("GET", "/me")).code, "DEVICE_ENDED");

    await room(page, "Members", "Members");
    await page.getByLabel("Invite by email").fill("gardener@example.org");
    await page.getByRole("button", { name: "Invite" }).click();
    await page.getByText("An invitation is on its way").waitFor();
    await withPage(mailedLink("gardener@example.org"), async (guest) => {
      await guest.getByLabel("Choose a password").fill(PASSWORD);
      await guest.getByRole("button", { name: "Accept the invitation" }).click();
      await guest.getByText("Online").waitFor();
    });
    const shed = await Device.make(house.dashboard_url);
    await shed.signIn({ email: "gardener@example.org", password: PASSWORD }, "Shed");
    assert.equal((await shed.call("GET", "/me")).role, "member");
    await page.reload();
    await page.getByRole("button", { name: "Devices of gardener@example.org" }).click();
    await page.getByText("Shed").waitFor();
    await accessible(page);
    await viewer.shot("dashboard-devices-of-member");
    await page.getByRole("button", { name: "Sign out Shed of gardener@example.org" }).click();
    await page.getByText("Done.").waitFor({ state: "attached" });
    assert.equal((await shed.call("GET", "/me")).code, "DEVICE_ENDED");
    await room(page, "Audit", "Audit log");
    await page.getByText("ended a device · Shed of gardener@example.org").waitFor();
    await page.getByText("added a device · Ada's laptop").waitFor();
  });
});

/** The row of the desktop that the tests create. */
function studio(page) {
  return page.getByRole("listitem").filter({ hasText: "studio-" });
}

/** What the cloud noted of the machine of that desktop. */
function machine() {
  const folder = `${house.state}/cloud/desktops/`;
  const name = readdirSync(folder).find((name) => name.startsWith("studio-"));
  return JSON.parse(readFileSync(`${folder}${name}/machine.json`, "utf8"));
}

test("a desktop is created, used, restarted, stopped, started and deleted, and survives the cloud", async () => {
  await withPage("/", async (page, viewer) => {
    const slow = { timeout: 60_000 };
    await signIn(page);
    await page.getByLabel("Name").fill("studio");
    await page.getByRole("button", { name: "Create desktop" }).click();
    await studio(page).getByText("Starting").waitFor();
    await studio(page).getByText("Online").waitFor(slow);
    await accessible(page);
    await viewer.shot("dashboard-created");

    await withPage("/", async (other) => {
      await signIn(other);
      await other.getByRole("link", { name: "Connect to studio" }).click();
      await other.waitForFunction(() => window.multiclaw?.state().phase === "live", null, { timeout: 30_000 });
    });

    const before = machine();
    await house.kill("cloud");
    await until("the page hears of the cloud again", async () => (await studio(page).getByText("Online").count()) === 1);
    await until("the agent host is back", async () => {
      const answer = await page.evaluate(() => fetch("/api/v1/instances").then((answer) => answer.json()).catch(() => []));
      return answer.some(({ name, state }) => name === "studio" && state === "Online");
    });
    assert.deepEqual(machine(), before, "the same programs run");

    process.kill(before.agent_host.pid, "SIGKILL");
    await studio(page).getByText("Error").waitFor();
    await accessible(page);
    await viewer.shot("dashboard-error");
    await studio(page).getByText("Online").waitFor(slow);
    assert.deepEqual(machine().x_server, before.x_server, "what a person had open is still there");

    await page.getByRole("button", { name: "Restart studio" }).click();
    await studio(page).getByText("Starting").waitFor();
    await studio(page).getByText("Online").waitFor(slow);
    assert.notDeepEqual(machine().x_server, before.x_server);
    await page.getByRole("button", { name: "Stop studio" }).click();
    await studio(page).getByText("Stopped").waitFor();
    await page.getByRole("button", { name: "Start studio" }).click();
    await studio(page).getByText("Online").waitFor(slow);

    await page.getByRole("button", { name: "Delete studio" }).click();
    await page.getByRole("dialog").waitFor();
    await accessible(page);
    await viewer.shot("dashboard-delete");
    await page.getByRole("button", { name: "Keep it" }).click();
    await page.getByRole("button", { name: "Delete studio" }).click();
    await page.getByLabel("Type studio to delete it").fill("studio");
    await page.keyboard.press("Enter");
    await studio(page).waitFor({ state: "detached" });
    const left = () => readdirSync(`${house.state}/cloud/desktops/`);
    await until("its files are gone", () => left().length === 0);
  });
});

test("a member may start and stop desktops, and neither create nor delete them", async () => {
  await withPage("/", async (page) => {
    await signIn(page);
    await room(page, "Members", "Members");
    await page.getByLabel("Invite by email").fill("worker@example.org");
    await page.getByRole("button", { name: "Invite" }).click();
    await page.getByText("An invitation is on its way").waitFor();
    await withPage(mailedLink("worker@example.org"), async (worker) => {
      await worker.getByLabel("Choose a password").fill(PASSWORD);
      await worker.getByRole("button", { name: "Accept the invitation" }).click();
      await worker.getByText("Online").waitFor();
      await accessible(worker);
      assert.equal(await worker.getByRole("button", { name: "Create desktop" }).count(), 0);
      assert.equal(await worker.getByRole("button", { name: "Delete desk" }).count(), 0);
    });
  });
});

/** Light and dark, wide and on a phone: no rule broken, nothing wider than the screen. */
const LOOKS = {
  light: { colorScheme: "light" },
  dark: { colorScheme: "dark" },
  phone: { viewport: { width: 360, height: 740 }, colorScheme: "dark", hasTouch: true },
};

test("the status page is one press away and shows the relays of each region", async () => {
  for (const [look, context] of Object.entries(LOOKS)) {
    await withPage("/sign-in", async (page, viewer) => {
      await page.getByRole("link", { name: "Service status" }).click();
      await page.getByRole("heading", { name: "MultiClaw status" }).waitFor();
      // A level counts when it is seen twice, ten seconds apart.
      const shown = /local\s+operational\s+Relay 1: serving\s+\d+\.\d % full\s+heard 20\d\d-/;
      await until("the relay is heard", async () => {
        await page.reload();
        return shown.test(await page.getByRole("main").innerText());
      }, 45_000);
      await accessible(page);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `${wide} px too wide`);
      await viewer.shot(`status-${look}`);
    }, context);
  }
});

test("the status page is readable from its folder when nothing answers any more", async () => {
  await withPage("about:blank", async (page, viewer) => {
    await page.goto(`file://${house.state}/cloud/status/index.html`);
    await page.getByText("Relay 1: serving").waitFor();
    assert.equal(await page.locator("script").count(), 0);
    const display = await page.evaluate(() => getComputedStyle(document.querySelector(".sum")).display);
    assert.equal(display, "flex", "the style lies beside the page");
    await accessible(page);
    await viewer.shot("status-file");
  });
});

test("the pages keep to their own strict policy", async () => {
  await withPage("about:blank", async (page) => {
    const broken = [];
    page.on("console", (message) => message.type() === "error" && broken.push(message.text()));
    for (const path of ["/sign-in", "/sign-up", "/invite"]) {
      const answer = await page.goto(new URL(path, house.dashboard_url).href);
      assert.match(answer.headers()["content-security-policy"], /^default-src 'none'; script-src 'self';/);
      await page.getByRole("button").waitFor();
    }
    assert.deepEqual(broken, []);
  }, { bypassCSP: false });
});

test("it is as usable dark, on a phone", async () => {
  const phone = { viewport: { width: 360, height: 740 }, colorScheme: "dark", hasTouch: true };
  await withPage("/", async (page, viewer) => {
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
    await accessible(page);
    await viewer.shot("dashboard-phone-sign-in");
    await signIn(page);
    await page.getByText("Online").waitFor();
    await accessible(page);
    await viewer.shot("dashboard-phone");
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= 360, `${width} px wide`);
  }, phone);
});
