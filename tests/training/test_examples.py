"""The examples for clusters hold commands that exist, with the options that they use."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from torch.distributed.run import get_args_parser
from typer.main import get_command

from understudy.cli import build_app

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SBATCH, KUBERNETES = EXAMPLES / "slurm" / "train.sbatch", EXAMPLES / "kubernetes" / "train.yaml"


def documents() -> dict[str, dict]:
    return {document["kind"]: document for document in yaml.safe_load_all(KUBERNETES.read_text())}


def pod() -> dict:
    return documents()["Job"]["spec"]["template"]["spec"]


def script_of(name: str) -> str:
    return SBATCH.read_text() if name == "slurm" else pod()["containers"][0]["args"][0]


def words_of(script: str, program: str) -> list[str]:
    """The words from a program's name to the end of its line, continued lines joined."""
    joined = script.replace("\\\n", " ")
    line = next(line for line in joined.splitlines() if program in line and not line.lstrip().startswith("#"))
    words = shlex.split(line)
    return words[words.index(program) :]


@pytest.mark.parametrize("name", ["slurm", "kubernetes"])
def test_the_shell_accepts_them(name):
    done = subprocess.run(["bash", "-n"], input=script_of(name), text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["slurm", "kubernetes"])
def test_every_option_of_understudy_exists(name):
    script = script_of(name)
    verb = words_of(script, "understudy")[1]
    command = get_command(build_app()).commands[verb]
    known = {option for parameter in command.params for option in parameter.opts}
    used = set(re.findall(r"--[a-z-]+", " ".join(words_of(script, "understudy"))))
    used |= {
        option for group in re.findall(r"options\+?=\(([^)]*)\)", script) for option in re.findall(r"--[a-z-]+", group)
    }
    assert {"--data", "--out", "--resume", "--checkpoint-every"} <= used <= known


def test_torchrun_accepts_its_options():
    words = words_of(script_of("kubernetes"), "torchrun")
    parsed = get_args_parser().parse_args(words[1:])
    assert (parsed.nnodes, parsed.nproc_per_node, parsed.no_python) == ("2", "8", True)
    assert (parsed.training_script, parsed.training_script_args[0]) == ("understudy", "train")
    job, service = documents()["Job"], documents()["Service"]
    host = parsed.rdzv_endpoint.partition(":")[0]
    assert host == f"{job['metadata']['name']}-0.{service['metadata']['name']}"


def test_the_kubernetes_objects_fit_together():
    job, service = documents()["Job"], documents()["Service"]
    assert (job["apiVersion"], service["apiVersion"]) == ("batch/v1", "v1")
    spec = job["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] == 2
    assert spec["template"]["metadata"]["labels"].items() >= service["spec"]["selector"].items()
    assert pod()["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    container = pod()["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 8
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod()["volumes"]}


def test_slurm_starts_a_process_for_each_gpu():
    asked = dict(re.findall(r"^#SBATCH --([a-z-]+)=(\S+)", SBATCH.read_text(), re.MULTILINE))
    assert asked["ntasks-per-node"] == asked["gpus-per-node"]
    assert "srun --kill-on-bad-exit=1 understudy train" in SBATCH.read_text()
