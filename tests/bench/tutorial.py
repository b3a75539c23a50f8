"""The same isolation as kopf's tutorial would have it: handlers of creation and deletion, their result in status.

It plans nothing, records nothing before it acts, looks at nothing and asks nobody: it is what is compared with.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import kopf
from kubernetes.aio import client, config

api: client.ApiClient
GROUP, VERSION, PLURAL = "incident-operator.dev", "v1alpha1", "incidents"


@kopf.on.startup()
async def startup(settings: kopf.OperatorSettings, **_: Any) -> None:
    global api  # noqa: PLW0603 - as the tutorial has it
    await config.load_kube_config(sys.argv[1])
    api = client.ApiClient()
    settings.posting.enabled = True


@kopf.on.login()
def login(**_: Any) -> Any:
    """The kubeconfig that was named, and no other."""
    import yaml

    told = yaml.safe_load(Path(sys.argv[1]).read_text())
    cluster, user = told["clusters"][0]["cluster"], told["users"][0]["user"]
    return kopf.ConnectionInfo(
        server=cluster["server"],
        ca_path=cluster.get("certificate-authority"),
        ca_data=cluster.get("certificate-authority-data"),
        certificate_path=user.get("client-certificate"),
        private_key_path=user.get("client-key"),
        certificate_data=user.get("client-certificate-data"),
        private_key_data=user.get("client-key-data"),
    )


@kopf.on.create(GROUP, VERSION, PLURAL)
async def create(name: str, namespace: str, spec: Any, **_: Any) -> dict[str, str]:
    target = spec["targets"][0]["name"]
    labels = {"incident-operator.dev/incident": name}
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": f"isolate-{name}", "namespace": namespace, "labels": labels},
        "spec": {"podSelector": {"matchLabels": {"app": target}}, "policyTypes": ["Ingress", "Egress"]},
    }
    await client.NetworkingV1Api(api).create_namespaced_network_policy(namespace, policy)
    return {"policy": f"isolate-{name}"}


@kopf.on.delete(GROUP, VERSION, PLURAL)
async def delete(name: str, namespace: str, **_: Any) -> None:
    await client.NetworkingV1Api(api).delete_namespaced_network_policy(f"isolate-{name}", namespace)


if __name__ == "__main__":
    kopf.run(standalone=True, namespaces=[sys.argv[2]])
