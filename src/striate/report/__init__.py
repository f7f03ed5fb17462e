"""Plain records in; one self-contained HTML file, plots and tables out."""
