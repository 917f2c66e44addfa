"""The chart, with every combination of its switches: Kubernetes takes it, and it hangs together."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.deploy.charts import CHART, Document, Rendered, helm, needs_helm, render

pytestmark = needs_helm

ZOOS: list[Document] = [
    {"source": "bundled"},
    {"source": "claim", "claim": {"name": "models", "subPath": "zoo"}},
    {"source": "image", "image": {"reference": "example.org/zoo:1"}},
    {"source": "pull", "pull": {"urls": ["s3://bucket/a", "https://example.org/b"]}},
]
TLS: list[Document] = [{}, {"secret": "tls"}, {"secret": "tls", "clientCaSecret": "ca"}]
KEYS: list[Document] = [
    {},
    {"apiKeys": {"secret": "keys"}},
    {"apiKeys": {"secret": "keys"}, "admin": {"secret": "admins"}},
]
EGRESS = [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}]
SWITCHES = ("autoscaling", "networkPolicy", "serviceMonitor", "podDisruptionBudget", "headless")
# The oldest that Chart.yaml allows, and the newest of the package.
KUBERNETES = ("1.28", "1.37")
_OURS = {"ServiceMonitor"}  # of the Prometheus operator: no schema of Kubernetes has it


def _values(made: Document, on: tuple[bool, ...]) -> Document:
    switch = dict(zip(SWITCHES, on, strict=True))
    service = {"headless": switch.pop("headless")}
    switched: Document = {name: {"enabled": is_on} for name, is_on in switch.items()}
    switched["networkPolicy"]["egress"] = EGRESS
    return {**made, **switched, "service": service}


def _cases() -> list[Document]:
    """All combinations of the switches, and of what makes the pod with those that look at it."""
    flags = (False, True)
    pods = [{"zoo": zoo, "tls": tls, **keys} for zoo, tls, keys in product(ZOOS, TLS, KEYS)]
    looked_at = [(*on, True, True, True) for on in product(flags, flags)]
    return [
        *[_values(pods[0], on) for on in product(flags, repeat=len(SWITCHES))],
        *[_values(pod, on) for pod, on in product(pods, looked_at)],
    ]


@pytest.fixture(scope="module")
def everything() -> list[tuple[Document, Rendered]]:
    """Every case, rendered."""
    cases = _cases()
    assert len(cases) == 2**5 + 4 * 3 * 3 * 2**2
    return [*zip(cases, render(cases), strict=True)]


def test_helm_itself_finds_nothing_to_say_but_that_there_is_no_icon() -> None:
    answer = helm([{}])
    assert answer["version"].startswith("v4.")
    told = [message["error"] for message in answer["lint"]["messages"]]
    assert (told, answer["lint"]["errors"]) == (["icon is recommended"], [])


def test_every_combination_is_what_kubernetes_takes(
    everything: list[tuple[Document, Rendered]],
) -> None:
    distinct: dict[str, Document] = {}
    for values, rendered in everything:
        assert rendered.refusal == "", values
        for document in rendered.documents:
            distinct.setdefault(json.dumps(document), document)
    kinds = {document["kind"] for document in distinct.values()}
    assert kinds - _OURS == {
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
    }
    assert len(distinct) > 80
    for document in distinct.values():
        if document["kind"] not in _OURS:
            for version in KUBERNETES:
                kubernetes_validate.validate(document, version, strict=True)


def test_the_validator_refuses_what_kubernetes_would() -> None:
    (rendered,) = render([{}])
    service = rendered.all("Service")[0]
    service["spec"]["ports"][0]["targetport"] = "grpc"
    with pytest.raises(kubernetes_validate.ValidationError, match="targetport"):
        kubernetes_validate.validate(service, KUBERNETES[-1], strict=True)


def test_what_is_switched_off_is_not_there(everything: list[tuple[Document, Rendered]]) -> None:
    kinds = {
        "autoscaling": "HorizontalPodAutoscaler",
        "networkPolicy": "NetworkPolicy",
        "serviceMonitor": "ServiceMonitor",
        "podDisruptionBudget": "PodDisruptionBudget",
    }
    for values, rendered in everything:
        for switch, kind in kinds.items():
            assert len(rendered.all(kind)) == values[switch]["enabled"]
        assert len(rendered.all("Service")) == 1 + values["service"]["headless"]
        has_replicas = "replicas" in rendered.one("Deployment")["spec"]
        assert has_replicas is not values["autoscaling"]["enabled"]


def _selectors(rendered: Rendered) -> list[dict[str, str]]:
    """What is to find the pods."""
    deployment = rendered.one("Deployment")["spec"]
    found: list[dict[str, str]] = [deployment["selector"]["matchLabels"]]
    found += [service["spec"]["selector"] for service in rendered.all("Service")]
    found += [pdb["spec"]["selector"]["matchLabels"] for pdb in rendered.all("PodDisruptionBudget")]
    found += [
        policy["spec"]["podSelector"]["matchLabels"] for policy in rendered.all("NetworkPolicy")
    ]
    found += [
        spread["labelSelector"]["matchLabels"]
        for spread in rendered.pod["topologySpreadConstraints"]
    ]
    return found


def test_selectors_find_the_pods(everything: list[tuple[Document, Rendered]]) -> None:
    for _, rendered in everything:
        labels = rendered.one("Deployment")["spec"]["template"]["metadata"]["labels"]
        selectors = _selectors(rendered)
        assert len(selectors) >= 3
        for selector in selectors:
            assert selector.items() <= labels.items()
            assert selector == {
                "app.kubernetes.io/name": "ganagerie",
                "app.kubernetes.io/instance": "art",
            }
        for hpa in rendered.all("HorizontalPodAutoscaler"):
            target = hpa["spec"]["scaleTargetRef"]
            assert (target["kind"], target["name"]) == ("Deployment", "art-ganagerie")


def test_what_scales_is_what_the_adapter_makes() -> None:
    """test_dashboards.py holds the name against a running server."""
    (rendered,) = render([{"autoscaling": {"enabled": True, "queueImages": 1_000_000}}])
    hpa = rendered.one("HorizontalPodAutoscaler")["spec"]
    (metric,) = hpa["metrics"]
    assert metric["pods"]["target"] == {"type": "AverageValue", "averageValue": "1000000"}
    file = CHART.parents[1] / "prometheus" / "adapter.yml"
    (rule,) = yaml.safe_load(file.read_text(encoding="utf-8"))["rules"]["custom"]
    assert rule["name"]["as"] == metric["pods"]["metric"]["name"]
    assert rule["seriesQuery"].startswith(f"{rule['name']['as']}{{")


def test_a_pod_is_scraped_once(everything: list[tuple[Document, Rendered]]) -> None:
    """Two services lead to the same pods."""
    for values, rendered in everything:
        for monitor in rendered.all("ServiceMonitor"):
            wanted = monitor["spec"]["selector"]["matchLabels"]
            services = [
                service
                for service in rendered.all("Service")
                if wanted.items() <= service["metadata"]["labels"].items()
            ]
            assert [s["metadata"]["name"] for s in services] == ["art-ganagerie"], values
            (service,) = services
            assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "ganagerie"
            (endpoint,) = monitor["spec"]["endpoints"]
            assert endpoint == {"port": "http", "path": "/metrics", "interval": "15s"}
            assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}


def test_what_is_mounted_is_what_the_config_names(
    everything: list[tuple[Document, Rendered]],
) -> None:
    for values, rendered in everything:
        volumes = {volume["name"] for volume in rendered.pod["volumes"]}
        containers = [rendered.container, *rendered.pod.get("initContainers", [])]
        mounts = [mount for container in containers for mount in container["volumeMounts"]]
        assert {mount["name"] for mount in mounts} == volumes
        folders = {mount["mountPath"] for mount in rendered.container["volumeMounts"]}
        named = {
            line.partition(" = ")[2].strip('"')
            for line in rendered.toml.splitlines()
            if '"/' in line
        }
        args = rendered.container["args"]
        named.add(args[args.index("--config") + 1])
        parents = {path if path == "/zoo" else path.rpartition("/")[0] for path in named}
        assert parents == folders - {"/tmp"}, values  # noqa: S108  a mount point of the container
        writable = {
            m["mountPath"] for m in rendered.container["volumeMounts"] if not m.get("readOnly")
        }
        assert writable == {"/tmp"}  # noqa: S108


def test_containers_are_confined(everything: list[tuple[Document, Rendered]]) -> None:
    for _, rendered in everything:
        pod = rendered.pod
        # A Service called ganagerie would make GANAGERIE_PORT=tcp://…, and no server would start.
        assert pod["enableServiceLinks"] is False
        assert pod["automountServiceAccountToken"] is False
        security = pod["securityContext"]
        dockerfile = (CHART.parents[2] / "Dockerfile").read_text(encoding="utf-8")
        assert f"USER {security['runAsUser']}:{security['runAsGroup']}\n" in dockerfile
        assert security["fsGroup"] == security["runAsGroup"]
        assert security["runAsNonRoot"] is True
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def _allowed(rules: list[dict[str, Any]]) -> dict[str, Any]:
    return {rule["ports"][0]["port"]: rule["from"] for rule in rules}


def test_nobody_in_a_list_means_nobody() -> None:
    """To Kubernetes a rule without peers means everybody."""
    peers = [{"namespaceSelector": {"matchLabels": {"team": "art"}}}]
    on: Document = {"enabled": True, "egress": []}
    cases: list[Document] = [{}, {"clients": peers, "scrapers": []}, {"clients": []}]
    rendered = render([{"networkPolicy": {**on, **case}} for case in cases])
    policies = [each.one("NetworkPolicy")["spec"] for each in rendered]
    same: list[Document] = [{"podSelector": {}}]
    assert [_allowed(policy["ingress"]) for policy in policies] == [
        {"grpc": same, "http": same},
        {"grpc": peers},
        {"http": same},
    ]
    for policy in policies:
        assert policy["egress"] == []
        assert policy["policyTypes"] == ["Ingress", "Egress"]
