"""What `sluicegate train init` writes: every key that matters, with its meaning beside it."""

TEMPLATE = """\
# A specialist: what it learns from, how it is judged, when the loop stops.
# sluicegate train lock specialist.toml --key KEY   signs the thresholds; nothing is fitted before.
# sluicegate train run specialist.toml              runs the loop; again goes on where it was.

name = "{name}"                  # the model's name in the repository and on the wire
task = "binary"                  # "binary": a score for one of two classes; "shading": a bid;
                                 # "sections": a decoder names a note's section and says its text
seed = 7                         # the same file, data and seed give the same candidate

[data]
source = "csv"                   # or a recipe's own source: {sources}
path = "data.csv"                # from this file's folder; .gz is unpacked; .tsv has tabs; or a
                                 # folder of tables with the same columns
label = "label"                  # the column to learn
positive = "1"                   # its value for the class to be caught; anything else is the other
# id = "id"                      # names cases in reports; row numbers if left out
# text = "post"                  # learn from this column of text instead of numbers
# note = "section"               # task "sections": the text to be said; label is its header, and
                                 # positive lists the headers that must not be missed
drop = []                        # columns that are not looked at
categorical = []                 # columns whose values are names: one feature a value
protected = []                   # never a feature; the fairness report is by them
slices = []                      # columns by whose values figures are told as well
split = "random"                 # "time": the latest are held out; "group": groups stay together
# split_by = "day"               # the column of time or group
core_share = 0.15                # judged in every round
held_out_share = 0.2             # sealed; each look is counted
# latest = 5000                  # source "decisions": only so many of the newest labelled requests
# more = "labelled.csv"          # texts that a teacher labelled (train label): training cases only
duplicates = "refuse"            # equal rows on both sides of the split: "refuse", "drop", or for
                                 # texts "drop_near": training texts that hold one by its runs, too
begins = "2026-01-01"            # the data's first and last day, for the evidence
ends = "2026-06-30"
consent_basis = "why this data may be used for this"
personal_data = "none"           # "pseudonymous", "personal", "special"

[evaluate]
confidence = 0.95                # of the bounds that gates look at, by paired bootstrap
resamples = 1000
regressions_allowed = 0          # cases that must stay right and may be wrong all the same
reruns = 3                       # how often a wrong one is tried again, alone
looks = 3                        # at the held-out set, then it must be drawn anew
leak_words = 5                   # a case was leaked if this share of its runs of so many
leak_share = 0.65                # words is in one training text
suite_cases = 4000               # in each of core and held-out, at most
# least_lead = -0.01             # of the first metric beside the incumbent or plain model's, paired

[[evaluate.gates]]               # the worse bound of the interval has to reach the limit
metric = "auc"                   # {metrics}
limit = 0.75                     # at least, where more is better; else at most
on = "both"                      # "core", "held_out"

[specialise]
methods = ["boosting", "network"]  # {methods}
trials = 4                       # a round
folds = 3                        # of the training rows, to compare trials
cores = 1                        # a trial; it runs at `nice`, within `memory_gib`
memory_gib = 4.0
nice = 15
trial_seconds = 1800.0
targeted = true                  # later rounds weigh what failed more
# workers = 2                    # on Ray: so many fit a text method together, `cores` each
# base = "minilm"                # text_lora, decoder_lora: a Hugging Face directory with weights
# device = "cpu"                 # "cuda" is refused where there is none

# [teacher]                      # sluicegate train label: texts labelled by a large model
# url = "http://127.0.0.1:8000/v1"  # any endpoint with OpenAI's chat completions
# model = "its name there"
# key_env = "TEACHER_KEY"        # the variable that holds its key, if it wants one
# instruction = ""               # in place of "Is the text A or B?"
# check = 100                    # known training cases that it is asked for first
# agreement = 0.8                # with them, by its lower bound, or nothing is labelled
# calls = 1000                   # at most, in one go
# may_send = false               # personal texts to another machine

[stop]
rounds = 6
patience = 2                     # rounds without `improvement`
improvement = 0.0005
trials = 40
seconds = 3600.0                 # of work, over all restarts
divergence = 0.05                # a round that falls this far below the best is taken back

[decide]                         # the threshold that costs least
miss = 1.0
false_alarm = 1.0
labels = ["negative", "positive"]
# descriptions = ["", ""]        # the classes in words: the base model untrained is asked by them

[propose]
repository = "models"
# incumbent = "models/{name}/1"  # what it has to be no worse than
intended_use = "what it is for"
prohibited_use = "Anything else."
materiality = "medium"
owner = "who answers for it"
validator = "who looks at it independently"
jurisdictions = ["EU"]
known_limits = []
reasons = false                  # a map of reasons for decisions, as credit needs it
"""


def template(name: str, sources: str, metrics: str, methods: str) -> str:
    """The file for a specialist of that name."""
    return TEMPLATE.format(name=name, sources=sources, metrics=metrics, methods=methods)
