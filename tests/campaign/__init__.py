"""A campaign: thousands of hostile tries, and a line to run each one again that fell.

    make campaign MINUTES=10                         all kinds in turn, until the time is over
    python -m tests.campaign audio tables            these kinds only
    python -m tests.campaign kills --seed 123        one try again, with all that it printed

`engine` forks a child for each try and watches it, `material` makes what is then damaged, `work`
has the kinds that disturb work (kills, races, disk), `inputs` those that damage what is read.
A try is decided by its kind and seed. It falls by an exception that the kind does not allow, a
wrong result, more than 20 s of CPU or more than 1.5 GiB.
"""
