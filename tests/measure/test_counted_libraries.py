"""Networks of other libraries: counted from shapes, profiled, and as PyTorch's counter has them."""

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from library_models import NETWORKS, built, network, on_meta
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GATConv, GCNConv, SAGEConv, global_add_pool

import analyzer
from analyzer.errors import AnalyzerError

ATEN = torch.ops.aten


def attention_flops(query, key, value, *args, out_shape=None, **kwargs):
    """The counter has no rule for the kernel of the CPU, nor for heads that share keys."""
    heads = (*query[:2],)
    return sdpa_flop_count(query, (*heads, *key[2:]), (*heads, *value[2:]))


def grouped_flops(lhs, rhs, *args, out_shape=None, **kwargs):
    """Nor for products by group, where each row of ``[S, k]`` meets one matrix of ``[G, k, m]``."""
    assert (len(lhs), len(rhs)) == (2, 3)
    return 2 * lhs[0] * lhs[1] * rhs[2]


def macs_by_torch(model, run):
    model.requires_grad_(False)  # the counter's hooks fail on expanded parameters
    rules = {
        ATEN._scaled_dot_product_flash_attention_for_cpu: attention_flops,
        ATEN._grouped_mm: grouped_flops,
    }
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=rules) as counter:
        run()
    assert counter.get_total_flops() % 2 == 0
    return counter.get_total_flops() // 2


def work(profile):
    rows = profile.counts.groupby(["module", "op"])["dense_macs"].sum()
    return rows[rows > 0].to_dict()


def described(batch):
    return {
        key: (str(x.dtype), tuple(x.shape)) if isinstance(x, torch.Tensor) else x
        for key, x in batch.items()
    }


@cache
def of_one_sample(name):
    return analyzer.profile(built(network(name)), network(name).batch(1))


@pytest.mark.parametrize("samples", [1, 3, 8])
@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n.name)
def test_dense_work_is_that_of_the_flop_counter_at_any_batch(network, samples):
    """The same from shapes alone, from a run and from PyTorch's counter, and the same a sample."""
    model, batch = built(network), network.batch(samples)
    counted = analyzer.count(on_meta(network), described(batch))
    profiled = analyzer.profile(model, batch)
    assert counted.samples == profiled.samples == samples
    assert counted.uncovered.empty
    assert work(counted) == work(profiled)
    assert counted.totals["dense_macs"] == macs_by_torch(model, lambda: model(**batch))
    alone = work(of_one_sample(network.name))
    assert work(counted) == {row: samples * macs for row, macs in alone.items()}
    assert counted.parameters == sum(p.numel() for p in model.parameters())


class Running(nn.Module):
    """Runs a model in a way of its own, for profiles of the same."""

    def __init__(self, model, forward):
        super().__init__()
        self.model = model
        self.way = forward

    def forward(self, **batch):
        return self.way(self.model, batch)


def generate(model, batch):
    return model.generate(
        **batch, max_new_tokens=4, do_sample=False, eos_token_id=None, pad_token_id=0
    )


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
def test_a_generation_of_known_length_is_counted_by_shapes(name):
    model = built(network(name))
    batch = {"input_ids": network(name).batch(2)["input_ids"]}
    batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    batch["attention_mask"][0, :3] = 0
    counted = analyzer.count(on_meta(network(name)), batch, forward=generate)
    assert counted.samples == 2
    want = macs_by_torch(model, lambda: generate(model, batch))
    assert counted.totals["dense_macs"] == want
    profiled = analyzer.profile(Running(model, generate), batch)
    inner = {
        (m.removeprefix("model").removeprefix("."), op): n for (m, op), n in work(profiled).items()
    }
    assert work(counted) == inner


def test_a_generation_that_may_end_early_is_refused():
    def free(model, batch):
        return model.generate(**batch, max_new_tokens=4, do_sample=False, eos_token_id=2)

    with pytest.raises(AnalyzerError, match=r"looks at values.*profile it on data instead\.$"):
        analyzer.count(on_meta(network("llama")), network("llama").batch(2), forward=free)


@pytest.mark.parametrize("name", ["bert", "llama", "t5", "mixtral"])
def test_a_mask_is_read_where_a_model_asks_for_its_values(name):
    """Models ask whether a mask hides anything; of one that is described nobody knows."""
    batch = network(name).batch(3)
    mask = torch.ones_like(batch["input_ids"])
    mask[1, 7:] = 0
    want = of_one_sample(name).totals["dense_macs"] * 3
    for known in (mask, torch.ones_like(mask)):
        counted = analyzer.count(
            on_meta(network(name)), described(batch) | {"attention_mask": known}
        )
        assert counted.totals["dense_macs"] == want
    with pytest.raises(AnalyzerError, match="give the inputs that decide as tensors with their"):
        analyzer.count(
            on_meta(network(name)), described(batch) | described({"attention_mask": mask})
        )


@pytest.mark.parametrize("layer", [GCNConv(8, 5), GATConv(8, 5, heads=2), SAGEConv(8, 5)], ids=repr)
def test_a_layer_of_a_graph_is_counted_with_its_edges(layer):
    """How many edges there are is a shape; whether some are loops is in the values."""
    layer.eval()
    x, edges = torch.randn(4, 8), torch.tensor([[0, 1, 2, 3, 1], [1, 0, 3, 2, 2]])
    counted = analyzer.count(layer, (("float32", (4, 8)), edges), samples=1)
    assert counted.samples == 1
    assert counted.totals["dense_macs"] == macs_by_torch(layer, lambda: layer(x, edges))
    assert work(counted) == work(analyzer.profile(layer, (x, edges)))


BIG = """
import re, sys, time
from pathlib import Path
sys.path[:0] = [{folder!r}, {folder!r} + "/.."]
from library_models import LlamaForCausalLM, tf, torch
import analyzer
with torch.device("meta"):
    model = LlamaForCausalLM(tf.LlamaConfig()).eval()
begun = time.process_time()
counted = analyzer.count(model, {{"input_ids": ("int64", (1, 2048))}})
# ru_maxrss would be that of the process that started this one, where that is larger.
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
print(time.process_time() - begun, peak)
print(counted.parameters, counted.totals["dense_macs"], counted.totals["uncovered_elements"])
"""


def test_seven_billion_parameters_at_2048_tokens_take_seconds_and_less_than_a_gibibyte():
    script = BIG.format(folder=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    figures, counts = done.stdout.splitlines()[-2:]
    seconds, kibibytes = map(float, figures.split())
    layers, d, hidden, n, vocabulary = 32, 4096, 11008, 2048, 32000
    dense = layers * n * (4 * d * d + 3 * d * hidden + 2 * n * d) + n * d * vocabulary
    assert counts == f"6738415616 {dense} 0"
    assert seconds < 5
    assert kibibytes < 2**20


class OfGraphs(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = GCNConv(6, 4), nn.Linear(4, 3)

    def forward(self, graphs):
        return self.head(global_add_pool(self.conv(graphs.x, graphs.edge_index), graphs.batch))


def test_a_batch_of_graphs_says_how_many_it_holds():
    edges = torch.tensor([[0, 1, 2], [1, 2, 0]])
    graphs = [Data(x=torch.rand(nodes, 6), edge_index=edges) for nodes in (3, 5, 4)]
    loader = DataLoader(graphs, batch_size=2)
    with pytest.raises(AnalyzerError, match=r"such as samples=lambda batch: batch\.num_graphs"):
        analyzer.profile(OfGraphs().eval(), loader)
    found = analyzer.profile(OfGraphs().eval(), loader, samples=lambda batch: batch.num_graphs)
    assert (found.samples, work(found)) == (
        3,
        {("conv.lin", "linear"): 288, ("head", "linear"): 36},
    )
