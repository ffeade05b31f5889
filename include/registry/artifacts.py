"""Names of the files that a registered version has in MLflow beside its model."""

CARD_FOLDER = "model_card"
CARD_HTML, CARD_MARKDOWN = "model_card.html", "model_card.md"
