#!/usr/bin/env python3
"""Measures one round of Flower's SecAgg+ in one process, and prints it as JSON.

Flower's own code runs at both ends: `SecAggPlusWorkflow`, with its defaults, as the server, and
`secaggplus_mod` for every client. Only the network between them is replaced, by calls. Time is
CPU time of this thread; numpy's kernels used here have no threads of their own.

Run it by `benches/peers/run-flower`, which installs Flower and compares.
"""

import argparse
import importlib
import json
import logging
import statistics
import time
from contextlib import contextmanager

import flwr
import numpy as np
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.app.message_type import MessageType
from flwr.common import Code, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.common.secure_aggregation.secaggplus_constants import (
    RECORD_KEY_CONFIGS,
    Key as SecAggKey,
    Stage,
)
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.compat.common import recorddict_compat as compat
from flwr.server import ServerConfig
from flwr.server.client_manager import SimpleClientManager
from flwr.server.client_proxy import ClientProxy
from flwr.server.compat.legacy_context import LegacyContext
from flwr.server.strategy import FedAvg
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD, Key
from flwr.supercore.task_identity import TaskIdentity

# The packages export the function and the class under their modules' names.
client_module = importlib.import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")
server_module = importlib.import_module(
    "flwr.server.workflow.secure_aggregation.secaggplus_workflow"
)


class Clock:
    """CPU seconds by name; the innermost name counts."""

    def __init__(self):
        self.spent = {}
        self.names = []
        self.since = time.thread_time()

    def _book(self):
        now = time.thread_time()
        if self.names:
            name = self.names[-1]
            self.spent[name] = self.spent.get(name, 0.0) + now - self.since
        self.since = now

    @contextmanager
    def counting(self, name):
        self._book()
        self.names.append(name)
        try:
            yield
        finally:
            self._book()
            self.names.pop()

    def take(self):
        self._book()
        spent, self.spent = self.spent, {}
        return spent


CLOCK = Clock()


def count(module, part, names):
    """Has calls of these functions of Flower counted under the name of a part."""
    for name in names:
        original = getattr(module, name)

        def counted(*args, _original=original, **kwargs):
            with CLOCK.counting(part):
                return _original(*args, **kwargs)

        setattr(module, name, counted)


class Proxy(ClientProxy):
    """A client as the server's strategy sees it; SecAgg+ talks through the grid instead."""

    def __init__(self, node_id):
        super().__init__(str(node_id))
        self.node_id = node_id

    def _none(self, *_args, **_kwargs):
        raise NotImplementedError

    get_properties = get_parameters = fit = evaluate = reconnect = _none


class Grid:
    """Delivers messages to the clients of this process and books what each costs and sends."""

    def __init__(self, vectors, dropped):
        self.vectors = vectors
        self.dropped = dropped
        self.contexts = {
            node: Context(
                run_id=1, node_id=node, node_config={}, state=RecordDict(), run_config={}
            )
            for node in vectors
        }
        self.spent = {node: {} for node in vectors}
        self.sent = {node: 0 for node in vectors}
        self.vector_bytes = 0

    def send_and_receive(self, messages, *, timeout=None):
        del timeout
        replies = []
        with CLOCK.counting("network"):
            for message in messages:
                node = message.metadata.dst_node_id
                stage = message.content.config_records[RECORD_KEY_CONFIGS][SecAggKey.STAGE]
                if stage == Stage.COLLECT_MASKED_VECTORS and node in self.dropped:
                    replies.append(Message(Error(code=0, reason="gone"), reply_to=message))
                    continue
                # Both ways through Flower's own encoding, as on the wire: client and server share
                # no object. What that takes is not counted, for neither peer.
                message.content = recorddict_from_proto(recorddict_to_proto(message.content))
                reply = self._client(node, message)
                encoded = recorddict_to_proto(reply.content)
                wire = encoded.ByteSize()
                reply.content = recorddict_from_proto(encoded)
                self.sent[node] += wire
                if stage == Stage.COLLECT_MASKED_VECTORS:
                    self.vector_bytes = wire
                replies.append(reply)
        return replies

    def _client(self, node, message):
        def train(incoming, _context):
            # Making the update is no part of secure aggregation.
            with CLOCK.counting("network"):
                result = FitRes(Status(Code.OK, ""), self.vectors[node], 1, {})
                return Message(compat.fitres_to_recorddict(result, False), reply_to=incoming)

        before = dict(CLOCK.take())
        with CLOCK.counting("agent other"):
            reply = client_module.secaggplus_mod(message, self.contexts[node], train)
        spent = CLOCK.take()
        for part, seconds in spent.items():
            if part.startswith("agent"):
                self.spent[node][part] = self.spent[node].get(part, 0.0) + seconds
            else:
                before[part] = before.get(part, 0.0) + seconds
        CLOCK.spent = before
        return reply


def instrument():
    agent, server = client_module, server_module
    count(agent, "agent quantise", ["parameters_multiply", "quantize", "factor_combine"])
    # The rest, "other", is Shamir sharing, encryption of shares, copies, and Flower's state.
    count(
        agent,
        "agent mask",
        [
            "pseudo_rand_gen",
            "parameters_addition",
            "parameters_subtraction",
            "parameters_mod",
            "generate_shared_key",
        ],
    )
    count(server, "server add", ["bytes_to_ndarray"])
    plain = server.SecAggPlusWorkflow

    def stage(name, part):
        original = getattr(plain, name)

        def counted(*args):
            with CLOCK.counting(part):
                return original(*args)

        setattr(plain, name, counted)

    stage("setup_stage", "server other")
    stage("share_keys_stage", "server other")
    stage("collect_masked_vectors_stage", "server add")
    stage("unmask_stage", "server unmask")
    # Writing the average into a model follows when the sum is known, and is not compared.
    count(server, "server after", ["ndarrays_to_parameters"])
    FedAvg.aggregate_fit = lambda *_args: (None, {})


def play(agents, coordinates, dropped, seed):
    """One round. Returns one agent's median, the server's seconds, and bytes."""
    draw = np.random.default_rng(seed)
    updates = {
        node: draw.normal(0.0, 0.5, coordinates).astype(np.float32)
        for node in range(1, agents + 1)
    }
    vectors = {node: ndarrays_to_parameters([update]) for node, update in updates.items()}
    gone = set(range(agents - dropped + 1, agents + 1))
    grid = Grid(vectors, gone)
    manager = SimpleClientManager()
    for node in vectors:
        manager.register(Proxy(node))
    strategy = FedAvg(
        fraction_fit=1.0,
        min_fit_clients=agents,
        min_available_clients=agents,
        accept_failures=True,
    )
    start = ndarrays_to_parameters([np.zeros(1, dtype=np.float32)])
    state = RecordDict()
    state.config_records[MAIN_CONFIGS_RECORD] = ConfigRecord({Key.CURRENT_ROUND: 1})
    state.array_records[MAIN_PARAMS_RECORD] = compat.parameters_to_arrayrecord(start, True)
    context = LegacyContext(
        Context(run_id=1, node_id=0, node_config={}, state=state, run_config={}),
        ServerConfig(num_rounds=1),
        strategy,
        manager,
    )
    sums = []
    original = server_module.ndarrays_to_parameters
    server_module.ndarrays_to_parameters = lambda arrays: sums.append(arrays) or original(arrays)
    try:
        # Everybody is a neighbour of everybody, and the threshold is that of our complete graph.
        threshold = max(2, (agents + max(1, -(-agents // 10))) // 2)
        workflow = SecAggPlusWorkflow(num_shares=1.0, reconstruction_threshold=threshold / agents)
        CLOCK.take()
        workflow(grid, context)
    finally:
        server_module.ndarrays_to_parameters = original
    server = CLOCK.take()
    survivors = [node for node in vectors if node not in gone]
    if not sums:
        raise SystemExit("Flower's round did not complete")
    expected = np.mean([updates[node] for node in survivors], axis=0)
    error = float(np.max(np.abs(sums[0][0] - expected)))
    if error > 1e-2:
        raise SystemExit(f"Flower's average is off by {error}")
    part = lambda name: statistics.median(grid.spent[node].get(name, 0.0) for node in survivors)
    agent = {name: part(f"agent {name}") for name in ("quantise", "mask", "other")}
    return {
        "agent": {
            "quantise_s": agent["quantise"],
            "mask_s": agent["mask"],
            "other_s": agent["other"],
            "total_s": sum(agent.values()),
            "bytes": int(statistics.median(grid.sent[node] for node in survivors)),
            "vector_bytes": grid.vector_bytes,
        },
        "coordinator": {
            "add_s": server.get("server add", 0.0),
            "unmask_s": server.get("server unmask", 0.0),
            "other_s": server.get("server other", 0.0),
            "total_s": sum(server.get(f"server {name}", 0.0) for name in ("add", "unmask", "other")),
            "bytes_received": sum(grid.sent.values()),
        },
        "largest_error": error,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=16)
    parser.add_argument("--coordinates", type=int, default=1_000_000)
    parser.add_argument("--dropped", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2, help="the fastest round counts")
    arguments = parser.parse_args()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    # What Flower's own process would set before it starts a server.
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 0, 1
    instrument()
    rounds = [
        play(arguments.agents, arguments.coordinates, arguments.dropped, seed)
        for seed in range(arguments.rounds)
    ]
    best = min(rounds, key=lambda one: one["agent"]["total_s"] + one["coordinator"]["total_s"])
    answer = {
        "flwr": flwr.__version__,
        "n": arguments.agents,
        "d": arguments.coordinates,
        "dropouts": arguments.dropped,
        **best,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
