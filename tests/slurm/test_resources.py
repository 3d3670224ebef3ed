import pytest

from slurm.resources import Resources, SweepError, check_resources, sbatch_parameters


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"minuets": 5}, "resources: unknown key 'minuets': did you mean minutes"),
        ({"minutes": "01:00:00"}, "resources.minutes must be a whole number"),
        ({"minutes": 2.5}, "resources.minutes must be a whole number"),
        ({"minutes": 0}, "resources.minutes must be a whole number"),
        ({"cpus": True}, "resources.cpus must be a whole number"),
        ({"memory_gb": 1.5}, "resources.memory_gb must be a whole number"),
        ({"nodes": 0}, "resources.nodes must be a whole number"),
        ({"gpus": 2, "processes": 3}, "a node has 2 GPUs: one each"),
        ({"partition": 1}, "resources.partition must be a text"),
        ({"constraint": ["a100"]}, "resources.constraint must be a text"),
        ({"strategy": "dpp"}, 'resources.strategy must be "ddp" or "fsdp"'),
        ({"strategy": "fsdp", "compile": True}, "leave one of them out"),
        ({"compile": 1}, "resources.compile must be true or false"),
        ({"micro_batch": 0}, "resources.micro_batch must be a whole number, 1 or more"),
        ({"extra": "--qos=low"}, "resources.extra must be a table"),
        ({"extra": {"time": "1:00"}}, "resources.extra.time: set it with minutes"),
        ({"extra": {"cpus_per_task": 4}}, "resources.extra.cpus_per_task: set it with cpus"),
        ({"extra": {"output": "x"}}, "resources.extra.output: leave it out"),
        ({"extra": {"qos": ["a"]}}, "resources.extra.qos must be a text, a number or true"),
        ({"extra": {"qos": "a\n#SBATCH --uid=0"}}, "resources.extra.qos must be a text"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(table, message):
    with pytest.raises(SweepError, match=message) as raised:
        check_resources(table)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("minutes", [2, 3, 5, 9, 10, 60, 1440])
def test_a_warned_run_has_worked_even_where_slurm_warns_a_minute_early(minutes):
    use = check_resources({"minutes": minutes})
    assert use.minutes * 60 - use.signal_delay_s - 60 >= 30
    assert use.signal_delay_s >= 20  # for the last step and its checkpoint
    assert use.signal_delay_s == 90 or minutes < 9


def test_a_limit_that_leaves_no_time_is_refused():
    with pytest.raises(SweepError, match="2 or more"):
        check_resources({"minutes": 1})


@pytest.mark.parametrize(
    ("use", "node", "of_all"),
    [
        (Resources(), 1, 1),
        (Resources(gpus=4), 4, 4),
        (Resources(gpus=4, nodes=2), 4, 8),
        (Resources(gpus=4, processes=2), 2, 2),
        (Resources(processes=3, nodes=2), 3, 6),
    ],
)
def test_there_is_a_process_for_each_gpu(use, node, of_all):
    assert (use.node_processes, use.all_processes) == (node, of_all)
    asked = sbatch_parameters(use, "study", "place", [])
    assert (asked["ntasks_per_node"], asked["nodes"]) == (node, use.nodes)
    assert ("--kill-on-bad-exit=1" in asked["srun_args"]) == (of_all > 1)


def test_settings_of_the_execution_are_those_that_were_chosen():
    assert Resources(gpus=4).execution == {}
    use = check_resources({"gpus": 4, "strategy": "fsdp", "gradient_checkpointing": True})
    assert use.execution == {"strategy": "fsdp", "gradient_checkpointing": True}


def test_the_time_is_a_number_and_what_is_not_asked_for_is_left_out():
    asked = sbatch_parameters(Resources(minutes=7), "study", "place", [], dependency=None)
    assert asked["time"] == 7
    assert not {"partition", "account", "constraint", "gpus_per_node", "dependency"} & set(asked)
