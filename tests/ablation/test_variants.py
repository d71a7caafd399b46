"""Each ablation is planned as changes of the run: which tasks, which reward, from which start."""

from dataclasses import replace

import pytest

from tests.support import ROOT
from videossr.ablation.variants import ABLATIONS, WHOLE, Ablation, overrides, plan_ablation
from videossr.errors import ConfigError
from videossr.pretext.perturbations import PERTURBATIONS
from videossr.recipe import Recipe, load_recipe

RECIPE = load_recipe(ROOT / "params.yaml")


def plan(name: str, recipe: Recipe = RECIPE, *, quick: bool = False) -> Ablation:
    return plan_ablation(name, recipe.pretext, recipe.train, recipe.frames.num_frames, quick=quick)


def trained_on(ablation: Ablation) -> dict[str, set[str]]:
    """Variant -> the kinds with a share above 0."""
    return {v.name: {kind for kind, share in v.mixture.items() if share > 0} for v in ablation.variants}


def test_table_4_is_each_task_alone_and_all_with_both_rewards() -> None:
    table = plan("table4")
    names = ["all", "grounding", "counting", "jigsaw"]
    assert sorted(v.name for v in table.variants) == sorted(
        f"{name}-{reward}" for name in names for reward in ("smooth", "strict")
    )
    for name, kinds in trained_on(table).items():
        tasks = {kind.split("/")[0] for kind in kinds}
        assert tasks == ({"grounding", "counting", "jigsaw"} if name.startswith("all") else {name.split("-")[0]})
    assert all(v.reward == v.name.split("-")[1] for v in table.variants)


def test_a_task_alone_has_its_samples_of_the_mixture_in_table_4_and_all_of_them_in_figure_5() -> None:
    sizes = {v.name: v.num_samples for v in plan("table4").variants}
    total = RECIPE.pretext.train.num_samples
    assert sizes["all-smooth"] == sizes["all-strict"] == total
    assert sizes["grounding-smooth"] + sizes["counting-smooth"] + sizes["jigsaw-smooth"] == pytest.approx(total, abs=2)
    figure = plan("figure5")
    assert [v.name for v in figure.variants] == [WHOLE, "grounding", "counting", "jigsaw"]
    assert {v.num_samples for v in figure.variants} == {total}


def test_figure_6_is_each_perturbation_alone_and_names_those_that_do_not_fit() -> None:
    kinds = trained_on(plan("figure6"))
    alone = {next(iter(kind)).split("/")[1] for name, kind in kinds.items() if name != WHOLE}
    assert alone == set(PERTURBATIONS)
    assert all(len(kind) == 1 for name, kind in kinds.items() if name != WHOLE)
    grounding = replace(RECIPE.pretext.grounding, num_frames=48)
    all_frames = replace(RECIPE, pretext=replace(RECIPE.pretext, grounding=grounding))
    assert {"slow", "fast"} <= plan("figure6", all_frames).left_out.keys()


def test_every_variant_of_an_ablation_has_the_same_steps_and_names_every_kind() -> None:
    for name in ABLATIONS:
        ablation = plan(name)
        assert ablation.steps == RECIPE.train.grpo.steps
        assert len({frozenset(v.mixture) for v in ablation.variants}) == 1  # a kind that is left out has share 0
        assert ablation.variants[0].name == WHOLE


def test_the_changes_of_a_variant_are_its_seed_reward_mixture_and_start() -> None:
    ablation = plan("table4")
    strict = next(v for v in ablation.variants if v.name == "counting-strict")
    changes = overrides(ablation, strict, 3, "/project/start")
    assert changes["train.seed"] == 3
    assert set(changes["train.reward_by_task"].values()) == {"strict"}
    assert changes["train.policy"] == "/project/start"
    assert changes["train.grpo.steps"] == RECIPE.train.grpo.steps
    assert "ingest.source" not in changes
    assert "train.policy" not in overrides(ablation, ablation.variants[0], 3, None)


def test_a_reward_that_the_run_sets_for_one_kind_does_not_stay_in_a_variant() -> None:
    own = replace(RECIPE, train=replace(RECIPE.train, reward_by_task={"counting": "metric", "jigsaw/8": "strict"}))
    ablation = plan("table4", own)
    changes = overrides(ablation, ablation.variants[0], 0, None)
    train = replace(own.train, reward_by_task={**own.train.reward_by_task, **changes["train.reward_by_task"]})
    assert set(train.reward_by_task) >= {"grounding", "counting", "jigsaw", "jigsaw/8"}
    assert set(train.reward_by_task.values()) == {"smooth"}


def test_quick_variants_are_small() -> None:
    full, quick = plan("table4"), plan("table4", quick=True)
    assert [v.name for v in quick.variants] == [v.name for v in full.variants]
    assert quick.steps < full.steps
    changes = overrides(quick, quick.variants[0], 0, None)
    assert (ROOT / changes["ingest.source"]).exists()
    assert all(v.num_samples >= RECIPE.train.grpo.prompts_per_step for v in quick.variants)


def test_an_unknown_ablation_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match="an ablation must be one of table4, figure5, figure6, got 'table5'"):
        plan("table5")
