"""A certificate of one's own: asked of the cluster, and checked like anything that comes from a host."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from cryptography import x509

from bootstrap.access import Access
from bootstrap.apply import access_kubeconfig
from bootstrap.apply.access_kubeconfig import bring_kubeconfig
from bootstrap.apply.requests import BootstrapRequest
from bootstrap.inventory.model import Connection, Host
from bootstrap.kube import client_certificate
from bootstrap.kube.client import ApiError, Cluster
from bootstrap.kube.client_certificate import GROUP, NotSignedError, ends_soon, is_user_name, personal_credentials
from bootstrap.kube.credentials import read_credentials
from bootstrap.rundir import RunDirectory
from tests.unit.certificates import admin_conf, certificate, data, sign

ADMIN = read_credentials(admin_conf())
SEED = Host("cp1", frozenset({"control_plane"}), Connection("192.0.2.7"), {})
Signer = Callable[[str], str | None]


@dataclass
class Signing:
    """The API, as far as certificates go. `signer` answers a request (PEM) with what is put into its status."""

    signer: Signer = lambda request: data(sign(request))
    binding: bool = True
    refuses: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)

    def get(self, path: str, _query: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        if "clusterrolebindings" in path:
            return {"kind": "ClusterRoleBinding"} if self.binding else None
        return self.objects.get(path.rpartition("/")[2])

    def call(self, method: str, path: str, **given: Any) -> dict[str, Any] | None:
        if method == self.refuses:
            raise ApiError(403, "forbidden")
        if method == "POST":
            body = given["body"]
            self.asked.append(body)
            self.objects[body["metadata"]["name"]] = {"spec": body["spec"]}
            return body
        name = path.split("/")[-2]
        assert given["content_type"] == "application/merge-patch+json"
        request = base64.b64decode(self.objects[name]["spec"]["request"]).decode()
        self.objects[name]["status"] = {"certificate": self.signer(request)}
        return {}

    def delete(self, path: str) -> None:
        self.objects.pop(path.rpartition("/")[2])


def personal(api: Signing, name: str = "ada") -> Any:
    return personal_credentials(cast(Cluster, api), ADMIN, name)


def test_it_is_in_ones_own_name_and_its_key_is_made_here() -> None:
    api = Signing()
    found = personal(api)
    assert (found.host, found.port, found.ca) == (ADMIN.host, ADMIN.port, ADMIN.ca)
    assert x509.load_pem_x509_certificate(found.certificate.encode()).subject.rfc4514_string() == f"CN=ada,O={GROUP}"
    assert "PRIVATE" not in str(api.asked)
    assert api.asked[0]["spec"]["expirationSeconds"] == 365 * 24 * 3600
    assert api.objects == {}, "the request does not stay"


@pytest.mark.parametrize(
    "signer",
    [
        lambda request: data(sign(request, issuer="other-ca")),
        lambda _request: data(certificate("ada", organization=GROUP)),  # for another key
        lambda _request: "no base64!",
        lambda _request: data("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        lambda _request: data(ADMIN.certificate),
        lambda request: data(sign(request, days=-0.002)),  # ended
        lambda request: data(sign(request) + "-----BEGIN X-----\nAAAA\n-----END X-----\n"),
        lambda _request: cast(str, ["a list"]),
        lambda _request: "A" * 100_000,
    ],
)
def test_what_is_not_what_was_asked_for_is_not_used(signer: Signer) -> None:
    api = Signing(signer)
    with pytest.raises(NotSignedError):
        personal(api)
    assert api.objects == {}


def test_of_a_chain_only_the_certificate_is_used() -> None:
    found = personal(Signing(lambda request: data(sign(request) + ADMIN.ca)))
    assert found.certificate.count("BEGIN CERTIFICATE") == 1


def test_a_cluster_that_does_not_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_certificate, "_SIGNED_WITHIN_S", 0.05)
    with pytest.raises(NotSignedError, match="nobody has signed"):
        personal(Signing(lambda _request: None))
    with pytest.raises(NotSignedError, match=r"kubeadm before 1\.29"):
        personal(Signing(binding=False))
    with pytest.raises(NotSignedError, match="the API refuses it: forbidden"):
        personal(Signing(refuses="POST"))


def test_thirty_days_before_its_end_it_is_renewed() -> None:
    assert ends_soon(certificate("x", days=29.9))
    assert not ends_soon(certificate("x", days=30.1))
    assert ends_soon("damaged")


@pytest.mark.parametrize(
    ("name", "good"),
    [("ada", True), ("ada.b@lab-1", True), ("system:admin", False), ("", False), ("a b", False), ("a" * 64, False)],
)
def test_names(name: str, good: bool) -> None:
    assert is_user_name(name) is good


class Home:
    """A user's kubeconfig, and bootstrap bringing it up to date."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path, self.api, self.admin, self.visits = folder / "config", Signing(), ADMIN, 0
        self.run = RunDirectory.create("bootstrap", root=folder / "state")
        monkeypatch.setattr(access_kubeconfig, "admin_api", self._visit)

    def _visit(self, *_: object) -> Any:
        self.visits += 1
        return nullcontext((self.api, self.admin))

    def bring(self, *, first: bool = False, **asked: Any) -> Any:
        request = BootstrapRequest(Path("lab.ini"), self.run, self.path, Access(), user_name="ada", **asked)
        return bring_kubeconfig(request, SEED, "lab", only_if_missing=not first)

    @property
    def user(self) -> dict[str, str]:
        found: dict[str, str] = yaml.safe_load(self.path.read_text())["users"][0]["user"]
        return found


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    return Home(tmp_path, monkeypatch)


def test_a_context_stays_until_it_is_asked_to_be_renewed(home: Home) -> None:
    made = home.bring(first=True)
    assert (made.added, made.user, made.valid_days, made.warning) == (True, "ada", 365, "")
    before = home.user
    assert home.bring() is None
    assert home.visits == 1, "an unchanged cluster is not asked"
    assert home.bring(first=True).user == ""
    assert home.user == before
    assert home.bring(renew_kubeconfig=True).user == "ada"
    assert home.user != before


def test_one_that_ends_within_thirty_days_is_renewed(home: Home) -> None:
    home.api.signer = lambda request: data(sign(request, days=29))
    assert home.bring(first=True).valid_days == 29, "less than was asked for: the signer decides"
    assert home.bring().user == "ada"


def test_a_cluster_made_anew_gets_a_certificate_anew(home: Home) -> None:
    home.bring(first=True)
    home.admin = read_credentials(admin_conf(ca="other-ca"))
    home.api.signer = lambda request: data(sign(request, issuer="other-ca"))
    assert home.bring(first=True).user == "ada"


def test_without_a_signer_it_is_todays_copy_with_a_warning(home: Home) -> None:
    home.api.binding = False
    made = home.bring(first=True)
    assert "copy of the cluster's admin.conf" in made.warning
    assert home.user["client-certificate-data"] == data(ADMIN.certificate)


def test_the_context_can_be_made_current_without_a_visit(home: Home) -> None:
    home.bring(first=True)
    before = home.user
    assert home.bring(use_context=True).current
    assert (home.visits, home.user) == (1, before)
