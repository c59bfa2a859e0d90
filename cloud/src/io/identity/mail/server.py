"""A mail server for tests: aiosmtpd, which says what happens to it as lines of JSON.

Ends when its stdin does, so that it never outlives the test.
"""

import asyncio
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

options = json.loads(sys.argv[1])
put_off = options.get("put_off", 0)


def say(said, **more):
    print(json.dumps({"said": said, **more}), flush=True)


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        global put_off
        if address.startswith("nobody"):
            say("nobody")
            return "550 5.1.1 nobody here"
        if address.startswith("relay"):
            say("denied")
            return "550 5.7.1 relaying denied"
        if put_off > 0:
            put_off -= 1
            say("put off")
            return "451 4.7.1 come back later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server, session, envelope):
        text = envelope.content.decode()
        say("mail", **{"from": envelope.mail_from, "to": envelope.rcpt_tos, "text": text})
        return "250 2.0.0 taken"


def authenticate(server, session, envelope, mechanism, data):
    right = data.login == b"cloud" and data.password == options.get("password", "s3cret").encode()
    if not right:
        say("wrong password")
    return AuthResult(success=right, handled=right)


def context():
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain("cert.pem", "key.pem")
    return made


def protocol():
    say("connection")
    starttls = options["security"] == "Starttls"
    return SMTP(
        Handler(),
        hostname="mail.test",
        authenticator=authenticate,
        auth_required=True,
        # aiosmtpd counts TLS from the start as none.
        auth_require_tls=starttls,
        require_starttls=starttls,
        tls_context=context() if starttls else None,
    )


async def main():
    loop = asyncio.get_running_loop()
    tls = context() if options["security"] == "Tls" else None
    server = await loop.create_server(protocol, "127.0.0.1", options.get("port", 0), ssl=tls)
    say("ready", port=server.sockets[0].getsockname()[1])
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
