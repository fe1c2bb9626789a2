"""Prices what a page embeds, by multiplying and adding alone: the scripts of the page in Python.

The tests hold it against ``Profile.energy``, and the browser against it and that.
"""

from __future__ import annotations

import numpy as np


class Embedded:
    """One model of a payload."""

    def __init__(self, data, index):
        self.data, self.model = data, data["models"][index]

    def column(self, at):
        number = len(self.model["rows"]["module"])
        if at < 0:
            return np.zeros(number)
        return np.array([np.nan if x is None else x for x in self.model["columns"][at]], float)

    def count(self, convention, name, activity):
        counts = self.model["readings"][convention]["counts"]
        if name not in counts:
            return self.column(-1)
        still, spikes = counts[name]
        return (self.column(still) + activity * self.column(spikes)) / self.model["samples"]

    def energy(
        self, technology, convention, precision="fp32", memory=None, activity=1.0, **changed
    ):
        """Picojoules of each row by component."""
        tech = named(self.data["technologies"], technology)
        cost = tech["precisions"].get(precision) or tech["precisions"]["any"]
        cost = cost.get("by_format", {}).get(self.model["dtype"], cost)
        ac = cost["ac"]
        mac = np.array(cost["mac"])[self.model["rows"]["class"]]
        found = {"ac_pj": self.count(convention, "ac", activity) * ac}
        macs = self.count(convention, "mac", activity)
        special = named(self.data["conventions"], convention)["special"]
        if special is not None:
            charged = memory and named(self.data["memories"], memory)["settings"] | changed
            own = not charged or charged["neurons"] == "none"
            adds, multiplies, specials = (
                self.count(convention, f"elementwise.{part}", 1)
                + own * self.count(convention, f"elementwise.neurons.{part}", 1)
                for part in ("adds", "multiplies", "specials")
            )
            products = multiplies + special * specials
            found["elementwise_pj"] = adds * ac + products * (cost["multiply"] or 0.0)
        if memory is None:
            return found | {"mac_pj": macs * mac}
        model = named(self.data["memories"], memory)
        settings = model["settings"] | changed
        if settings["multiplies"] == "bit-serial":
            mac = settings["activation_bits"] * settings["bit_density"] * ac
        found["mac_pj"] = macs * mac

        def moved(names, bits, level, held):
            counts = sum(self.count(convention, name, activity) for name in names)
            if not names or not counts.any():
                return self.column(-1)
            price = {**tech["memories"], **model["levels"]}[level]
            if price is None:
                price = self.column(self.model["sized"][memory][level][held][str(bits)])
            return counts * bits * price

        def rule(setting, *parts):
            value = settings[setting]
            tails = [f".{p}" for p in parts] or [""]
            return [] if value == "none" else [f"{setting}.{value}{tail}" for tail in tails]

        biases = settings["bias_reads"]
        found["weights_pj"] = moved(
            rule("weight_reads") + rule("bias_reads"), settings["weight_bits"],
            settings["weight_level"], "weights" if biases == "none" else f"weights.{biases}",
        )  # fmt: skip
        level = settings["activation_level"]
        found["activations_pj"] = settings["hops"] * moved(
            rule("input_reads", "spikes") + rule("output_writes", "spikes"),
            settings["spike_bits"], settings["spike_level"] or level, "queue",
        ) + settings["hops"] * moved(
            rule("input_reads", "others") + rule("output_writes", "others"),
            settings["activation_bits"], level, "activations",
        )  # fmt: skip
        found["state_pj"] = moved(
            rule("state"), settings["state_bits"], settings["state_level"], "state"
        )
        multiply = cost["multiply"]
        for setting, component in (("neurons", "neurons_pj"), ("addressing", "addressing_pj")):
            name = f"{setting}.{settings[setting]}"
            adds, multiplies, both, updates = (
                self.count(convention, f"{name}.{part}", activity)
                for part in ("adds", "multiplies", "multiply_adds", "updates")
            )
            if settings[setting] == "dynamics" and tech["update"] is not None:
                found[component] = updates * tech["update"]
            else:
                product = multiply or 0.0
                found[component] = adds * ac + multiplies * product + both * (ac + product)
        return found


def named(entries, spec):
    return next(entry for entry in entries if entry["spec"] == spec)
