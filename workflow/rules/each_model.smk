# The chain of one model among several: what models.smk takes for each of them
include: "config.smk"
include: "code.smk"
include: "options.smk"
include: "data.smk"
include: "model.smk"
include: "diagnose.smk"
include: "report.smk"
