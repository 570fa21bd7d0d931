"""A service that was not named is called after what it runs."""

from __future__ import annotations

import pytest

from otel_ebpf.metadata.service_name import name_from_command

PY, NODE, JAVA = "/usr/bin/python3.11", "/usr/bin/node", "/usr/lib/jvm/17/bin/java"


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("python app.py", "app"),
        ("python3 -u -W ignore /srv/shop/api.py --token s3cret", "api"),
        ("python -Wignore -Xdev -OO api.py", "api"),
        ("python -m pkg.mod --x", "pkg.mod"),
        ("python -um http.server 8000", "http.server"),
        ("python -mhttp.server", "http.server"),
        ("python -W ignore -m pkg", "pkg"),
        ("python --check-hash-based-pycs always x.py", "x"),
        ("python /srv/orders/__main__.py", "orders"),
        ("python tool.pyz", "tool"),
        ("python my.app.py", "my.app"),
        ("python -c pass", "python3.11"),
        ("python -", "python3.11"),
        ("python", "python3.11"),
        ("python -m", "python3.11"),
        ("python /usr/bin/gunicorn -w 4 -b localhost:8000 shop.wsgi:app", "shop"),
        ("python /usr/bin/gunicorn -w 4 shop.wsgi", "shop"),
        ("python /usr/bin/gunicorn -k gevent", "gunicorn"),
        ("python -m gunicorn shop.api:create_app()", "shop.api"),
        ("python /v/bin/uvicorn --host 0.0.0.0 main:app --port 80", "main"),
        ("python -m uvicorn pay.main:app", "pay"),
        ("python /v/bin/flask --app hello run", "hello"),
        ("python /v/bin/flask --app=pkg/hello.py run", "hello"),
        ("python /v/bin/flask run", "flask"),
        ("python /v/bin/celery -A proj worker", "proj"),
    ],
)
def test_python(line: str, name: str) -> None:
    assert name_from_command(line.split(), PY, "python") == name


def test_a_gunicorn_worker_renamed_itself() -> None:
    assert name_from_command(["gunicorn: worker [shop.wsgi:app]"], PY, "python") == "shop"


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("node server.js", "server"),
        ("node --inspect --max-old-space-size=4096 -r ./trace.js dist/api.mjs", "api"),
        ("node /srv/cart/dist/index.js", "cart"),
        ("node index.js", "work"),
        ("node -e 1", "node"),
        ("node", "node"),
    ],
)
def test_node(line: str, name: str) -> None:
    assert name_from_command(line.split(), NODE, "nodejs", cwd="/home/u/work") == name


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("java -Xmx1g -jar /opt/pay-1.2.jar --spring.x=y", "pay-1.2"),
        ("java -cp a.jar:b.jar -Dx=y com.example.Main arg", "com.example.Main"),
        ("java --module-path m -m shop/com.example.App", "com.example.App"),
        ("java Hello.java", "Hello"),
        ("java -version", "java"),
        ("java -jar", "java"),
    ],
)
def test_java(line: str, name: str) -> None:
    assert name_from_command(line.split(), JAVA, "java") == name


@pytest.mark.parametrize(
    ("argv", "exe", "language", "name"),
    [
        (["./shop", "-config", "x.py"], "/srv/shop", "go", "shop"),
        (["/bin/sh", "/srv/run.sh"], "/usr/bin/dash", "", "run"),
        (["sh", "-ec", "echo 1"], "/usr/bin/dash", "", "dash"),
        (["ruby3.1", "app.rb"], "/usr/bin/ruby3.1", "", "app"),
        (["nginx: worker process"], "/usr/sbin/nginx", "", "nginx"),
        (["shop"], "/memfd:x", "", "named"),
        ([], "", "", "named"),
    ],
)
def test_others(argv: list[str], exe: str, language: str, name: str) -> None:
    assert name_from_command(argv, exe, language, comm="named") == name


def test_hostile_arguments_stay_bounded_and_printable() -> None:
    name = name_from_command(["python", "\x1b[31m\n" + "x" * 60_000 + ".py"], PY, "python")
    assert len(name) <= 255
    assert name.isprintable()
    assert name_from_command(["python", "\x00\n"], PY, "python") == "python3.11"
    assert name_from_command(["\n"], "", "") == "unknown_service"
