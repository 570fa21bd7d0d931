"""OTEL_RESOURCE_ATTRIBUTES is read as the specification says; nothing is lost in silence."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from otel_ebpf.metadata.environment import MAX_ATTRIBUTES, parse_resource_attributes


def test_pairs_are_split_and_decoded() -> None:
    pairs, refused = parse_resource_attributes(
        "service.name=a%2Cb, team = x%20y ,empty=,eq=a=b,caf=%C3%A9,,team=z"
    )
    assert pairs == {"service.name": "a,b", "team": "z", "empty": "", "eq": "a=b", "caf": "é"}
    assert refused == []


def test_what_cannot_be_used_is_named_without_its_value() -> None:
    pairs, refused = parse_resource_attributes("novalue,=x,bad=%zzsecret,raw=%ffsecret,ok=1")
    assert pairs == {"ok": "1"}
    assert len(refused) == 4
    assert not any("secret" in reason for reason in refused)
    assert "bad" in refused[2]


def test_the_number_is_bounded_and_the_rest_counted() -> None:
    pairs, refused = parse_resource_attributes(",".join(f"k{i}=v" for i in range(1000)))
    assert len(pairs) == MAX_ATTRIBUTES
    assert len(refused) == 1000 - MAX_ATTRIBUTES


@given(st.text())
def test_any_text_is_taken_or_counted(text: str) -> None:
    pairs, refused = parse_resource_attributes(text)
    items = [item for item in text.split(",") if item.strip()]
    assert len(pairs) + len(refused) <= len(items)
    assert bool(pairs or refused) == bool(items)
