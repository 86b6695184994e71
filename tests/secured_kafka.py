"""A real Apache Kafka with TLS, logins and rights: deny by default, each user may do what a rule says and nothing else.

Listeners: `clients` (SASL_SSL: SCRAM, PLAIN), `mutual` (SSL: client certificates), `foreign` (SASL_SSL, its certificate
is for another host), `tokens` (SASL_SSL: OAUTHBEARER) and `inside` (plaintext, for the tests' own administrator).
"""

from __future__ import annotations

import json
import re
import time
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from pathlib import Path

import trustme
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from rua_local.kafka import EmbeddedKafka
from rua_local.process import free_port, listening

LISTENERS = {
    "inside": "PLAINTEXT",
    "clients": "SASL_SSL",
    "mutual": "SSL",
    "foreign": "SASL_SSL",
    "tokens": "SASL_SSL",
}
SECURITY = "org.apache.kafka.common.security"
BEARER = f"{SECURITY}.oauthbearer.OAuthBearerLoginModule"
HANDLER = f"{SECURITY}.oauthbearer.OAuthBearerValidatorCallbackHandler"
JWKS_ALLOWED = "-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls"
ISSUER, AUDIENCE = "https://idp.example", "kafka"


class SecuredKafka(EmbeddedKafka):
    """`inside` is the bootstrap that may do everything; `address` tells the others."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        self.ports = {name: free_port() for name in LISTENERS} | {"inside": self.port}
        self.certificates = data_dir.absolute() / "certificates"
        self.certificates.mkdir(parents=True)
        self.authority, self.stranger = trustme.CA(), trustme.CA()
        self.issuer = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
        self.ca_file = self._write("ca.crt", self.authority.cert_pem.bytes())
        self.strange_ca_file = self._write("stranger.crt", self.stranger.cert_pem.bytes())
        self._store("broker", "127.0.0.1", "localhost")
        self._store("foreign", "broker.example")
        self._write("jwks.json", json.dumps({"keys": [self._public_key()]}).encode())

    def start(self) -> None:
        """As the base class, and until every listener answers."""
        super().start()
        while not all(listening(port) for port in self.ports.values()):
            time.sleep(0.02)

    def address(self, listener: str) -> str:
        """`host:port` of one."""
        return f"127.0.0.1:{self.ports[listener]}"

    @property
    def java_options(self) -> str:
        """What `JDK_JAVA_OPTIONS` must hold when it starts: Java fetches keys only from where it may."""
        return f"{JWKS_ALLOWED}={(self.certificates / 'jwks.json').as_uri()}"

    def client_certificate(self, name: str) -> tuple[str, str]:
        """Files with certificate and key of this user."""
        made = self.authority.issue_cert(f"{name}.example", common_name=name)  # Java wants a name in both places
        chain = b"".join(one.bytes() for one in made.cert_chain_pems)
        return self._write(f"{name}.crt", chain), self._write(f"{name}.key", made.private_key_pem.bytes())

    def token(self, name: str, seconds: float = 300) -> str:
        """A signed token of this user."""
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": name, "iat": now, "exp": now + int(seconds)}
        parts = [{"alg": "RS256", "typ": "JWT", "kid": "1"}, claims]
        signed = ".".join(_base64(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{_base64(self.issuer.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def add_users(self, **passwords: str) -> None:
        """For SCRAM, both kinds."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        kinds = (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512)
        wanted = [
            UserScramCredentialUpsertion(name, ScramCredentialInfo(kind, 4_096), password.encode())
            for name, password in passwords.items()
            for kind in kinds
        ]
        for kind in kinds:
            some: list[UserScramCredentialAlteration] = [
                one for one in wanted if one.scram_credential_info.mechanism == kind
            ]
            for done in admin.alter_user_scram_credentials(some).values():
                done.result(20)

    def permit(self, user: str, topics: Sequence[str], operation: AclOperation = AclOperation.WRITE) -> None:
        """WRITE, or something else, on these topics, LITERAL."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        rule = operation, AclPermissionType.ALLOW
        rules = [
            AclBinding(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, f"User:{user}", "*", *rule)
            for topic in topics
        ]
        for done in admin.create_acls(rules).values():
            done.result(20)

    def _configure(self) -> None:
        super()._configure()
        written = self._properties.read_text(encoding="utf-8")
        controller = re.search(r"CONTROLLER://127\.0\.0\.1:(\d+)", written)
        assert controller
        own = ",".join(f"{name.upper()}://{self.address(name)}" for name in LISTENERS)
        protocols = ",".join(f"{name.upper()}:{protocol}" for name, protocol in LISTENERS.items())
        store = "ssl.keystore.type=PEM\nssl.truststore.type=PEM\n"
        jwks = (self.certificates / "jwks.json").as_uri()
        lines = [
            f"listeners={own},CONTROLLER://127.0.0.1:{controller[1]}",
            f"advertised.listeners={own}",
            f"listener.security.protocol.map=CONTROLLER:PLAINTEXT,{protocols}",
            "inter.broker.listener.name=INSIDE",
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found=false",
            "super.users=User:ANONYMOUS",
            f"{store}ssl.truststore.location={self.ca_file}",
            f"ssl.keystore.location={self.certificates}/broker.pem",
            f"listener.name.foreign.ssl.keystore.location={self.certificates}/foreign.pem",
            "listener.name.mutual.ssl.client.auth=required",
            "ssl.principal.mapping.rules=RULE:^.*CN=([^,]+).*$/$1/,DEFAULT",
            "sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512,PLAIN",
            "listener.name.foreign.sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512",
            "listener.name.tokens.sasl.enabled.mechanisms=OAUTHBEARER",
            f"listener.name.tokens.oauthbearer.sasl.server.callback.handler.class={HANDLER}",
            f"listener.name.tokens.oauthbearer.sasl.oauthbearer.jwks.endpoint.url={jwks}",
            f"listener.name.tokens.oauthbearer.sasl.oauthbearer.expected.audience={AUDIENCE}",
            f"listener.name.tokens.oauthbearer.sasl.oauthbearer.expected.issuer={ISSUER}",
            f"listener.name.tokens.oauthbearer.sasl.jaas.config={BEARER} required;",
        ]
        for listener in ("clients", "foreign"):
            for kind in ("scram-sha-256", "scram-sha-512"):
                module = f"{SECURITY}.scram.ScramLoginModule required;"
                lines.append(f"listener.name.{listener}.{kind}.sasl.jaas.config={module}")
        plain = f'{SECURITY}.plain.PlainLoginModule required user_agent-shop="plain word";'
        lines.append(f"listener.name.clients.plain.sasl.jaas.config={plain}")
        self._properties.write_text(written + "\n" + "\n".join(lines) + "\n", encoding="utf-8")

    def _store(self, name: str, *hosts: str) -> None:
        """Key and certificates in one file. Kafka reads keys as PKCS 8 only."""
        made = self.authority.issue_cert(*hosts)
        key = serialization.load_pem_private_key(made.private_key_pem.bytes(), None)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self._write(f"{name}.pem", pem + b"".join(one.bytes() for one in made.cert_chain_pems))

    def _write(self, name: str, data: bytes) -> str:
        path = self.certificates / name
        path.touch(0o600)
        path.write_bytes(data)
        return str(path)

    def _public_key(self) -> dict[str, str]:
        numbers = self.issuer.public_key().public_numbers()
        n, e = (_base64(x.to_bytes((x.bit_length() + 7) // 8, "big")) for x in (numbers.n, numbers.e))
        return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "1", "n": n, "e": e}


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")
