"""Specs: frozen data with a kind, that comes back from JSON as it was, for everything that is discovered."""

import json
from abc import abstractmethod

import pytest

import striate.data
import striate.tasks
import striate.training
from striate.architectures.backbone import named_architectures, register_layers
from striate.core.errors import InputError
from striate.core.spec import MAX_DEPTH, Spec, discover, kinds
from striate.core.transform import CenterCrop, Compose, Normalise, Resize, Transform
from striate.layers.conv import Convolution
from striate.layers.graph import Chain, expanded
from striate.layers.layer import Layer
from striate.layers.norm_act import ReLU
from striate.training.schedule import Step


class Fruit(Spec):
    """An abstract base with two kinds."""

    @abstractmethod
    def seeds(self) -> int:
        """How many."""


class Apple(Fruit):
    """One kind."""

    size: float = 1.0

    def seeds(self) -> int:
        """Five."""
        return 5


class Basket(Fruit):
    """A kind that holds others."""

    fruits: tuple[Fruit, ...] = ()
    labels: dict[str, Fruit] = {}

    def seeds(self) -> int:
        """Of all."""
        return sum(fruit.seeds() for fruit in self.fruits)


def everything() -> dict[str, Spec]:
    """One instance of every kind there is that needs no arguments, by kind."""
    register_layers()
    named_architectures()
    for package in (striate.data, striate.tasks, striate.training):
        discover(package)
    found: dict[str, Spec] = {"step": Step(every=10)}  # the one that needs one of two fields
    for kind, cls in kinds(Spec).items():
        if kind not in found and all(not field.is_required() for field in cls.model_fields.values()):
            found[kind] = cls()
    return found


def test_everything_discovered_comes_back_from_json_as_it_was() -> None:
    specs = everything()
    assert {"relu", "sgd", "one_cycle", "classification", "normalise", "small_images", "augment"} <= specs.keys()
    for spec in specs.values():
        data = json.loads(json.dumps(spec.to_json()))
        assert Spec.from_json(data) == spec
        assert type(Spec.from_json(data)) is type(spec)


@pytest.mark.parametrize("name", sorted(named_architectures()))
def test_named_networks_written_out_come_back_as_they_were(name: str) -> None:
    network = expanded(named_architectures()[name].network(3))
    assert Layer.from_json(json.loads(json.dumps(network.to_json()))) == network


def test_a_field_of_an_abstract_kind_keeps_the_real_type_of_what_it_holds() -> None:
    basket = Basket(fruits=(Apple(size=2.0), Basket(fruits=(Apple(),))), labels={"red": Apple()})
    data = basket.to_json()
    assert data["fruits"][0] == {"kind": "apple", "size": 2.0}
    assert Basket.from_json(data) == basket
    assert Basket.from_json(data).seeds() == 10


def test_specs_are_frozen_and_compared_by_value() -> None:
    assert Apple() == Apple()
    assert Apple() != Apple(size=2.0)
    with pytest.raises(ValueError, match="frozen"):
        Apple().size = 3.0  # type: ignore[misc]
    assert Apple().replace(size=4.0) == Apple(size=4.0)
    with pytest.raises(ValueError, match="colour"):
        Apple().replace(colour="red")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"kind": "aple"}, "unknown kind 'aple'; did you mean apple"),
        ({"size": 1.0}, "an object with a 'kind' was expected"),
        ([], "an object with a 'kind' was expected"),
        ({"kind": "apple", "colour": "red"}, "apple.colour: unknown key"),
        ({"kind": "apple", "size": "big"}, "apple.size: .*number.*'big'"),
        ({"kind": "basket", "fruits": [{"kind": "apple", "colour": 1}]}, "basket.fruits.0.apple.colour: unknown key"),
        ({"kind": "basket", "fruits": [{"kind": "relu"}]}, "basket.fruits.0: a 'relu' came where a Fruit was expected"),
        ({"kind": "basket", "labels": {"x": {"kind": "nut"}}}, "basket.labels.x: unknown kind 'nut'"),
    ],
)
def test_a_fault_is_one_line_that_names_the_place(data: object, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        Fruit.from_json(data, "file.json")
    assert str(caught.value).startswith("file.json: ")
    assert "\n" not in str(caught.value)


def test_another_kind_than_the_one_expected_is_refused() -> None:
    with pytest.raises(InputError, match=r"'relu' came where a Transform was expected"):
        Transform.from_json(ReLU().to_json())


def test_nesting_without_end_is_refused_before_the_stack_is_exhausted() -> None:
    data: dict[str, object] = {"kind": "apple"}
    for _ in range(50 * MAX_DEPTH):
        data = {"kind": "basket", "fruits": [data]}
    with pytest.raises(InputError, match="nested deeper"):
        Fruit.from_json(data)


def test_a_kind_belongs_to_one_class() -> None:
    with pytest.raises(TypeError, match=r"the kind 'apple'.*is taken by"):
        type("Apple", (Fruit,), {"seeds": lambda self: 0, "__module__": "elsewhere"})


def test_walking_visits_every_spec_with_its_place() -> None:
    chain = Chain(layers=(Convolution(channels=2, kernel=3), ReLU()))
    assert [(path, spec.kind) for path, spec in chain.walk()] == [
        ("", "chain"),
        ("layers.0", "convolution"),
        ("layers.1", "relu"),
    ]


def test_a_preprocessing_is_written_step_by_step() -> None:
    steps = Compose(steps=(Resize(size=8), CenterCrop(size=(8, 8)), Normalise(mean=0.5)))
    assert [step["kind"] for step in steps.to_json()["steps"]] == ["resize", "center_crop", "normalise"]
    assert Compose.from_json(steps.to_json()) == steps
