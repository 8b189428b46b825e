"""What a student inherits: whole layers and the head as they are, or the most important parts of a wider teacher."""

from kdfeatures.models.pruning.layer_choice import MEASURED as MEASURED
from kdfeatures.models.pruning.layer_choice import RULES as RULES
from kdfeatures.models.pruning.layer_choice import chosen_by as chosen_by
from kdfeatures.models.pruning.layer_choice import most_influential as most_influential
from kdfeatures.models.pruning.parts import PRUNABLE as PRUNABLE
from kdfeatures.models.pruning.prune import prune_into as prune_into
