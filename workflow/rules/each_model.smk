# The chain of one model among several: what models.smk takes for each of them
include: "common.smk"
include: "data.smk"
include: "model.smk"
include: "report.smk"
